"""One request through the proxy: past the filters, to its version, and the response handed over."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from time import monotonic_ns
from typing import Any

from gevent import GreenletExit

from app.errors import PoolExhausted, RateLimited, RouterError, UpstreamDeadline, UpstreamError, WorkerStopped
from app.protocol.response import ResponseHead
from app.proxy.chain import Chain
from app.proxy.client_request import RATE_GRACE_S, ClientRequest
from app.proxy.relay.response_relay import ResponseRelay
from app.proxy.relay.tunnel import Tunnel
from app.proxy.replies.audience import Audience
from app.proxy.replies.local_reply import ErrorReply, LocalReply
from app.proxy.replies.rate_refusals import RateRefusals
from app.proxy.replies.reply import Reply
from app.proxy.rewrite.request_ids import request_ids
from app.proxy.rewrite.rewriter import Rewriter
from app.proxy.sending.retrier import Retrier
from app.proxy.transaction import RequestRecorder, Transaction
from app.routing.failover import FailureDetector
from app.routing.targets import NOWHERE
from app.settings.tables.router_settings import RouterConfig
from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from app.upstream.messages import Begun, UpstreamResponse

__all__ = ["Forwarder", "Timeouts", "WsgiResponse"]

logger = getLogger(__name__)

WsgiResponse = Callable[[dict[str, Any], Any], Any]


class Timeouts:
    """The worker's deadlines, one object for each kind of wait."""

    def __init__(self, config: RouterConfig) -> None:
        self.connecting = Deadlines(config.connection_timeout)
        self.reading = Deadlines(config.read_timeout)
        # A body that has stopped is slower than any floor.
        self.body = Deadlines(RATE_GRACE_S if config.body_rate_floor else 0)
        self.total = Deadlines(config.response_timeout)
        self.sending = Deadlines(config.send_timeout)
        self.tunnel = Deadlines(config.tunnel_idle_timeout)


class Forwarder:
    """Forwards the requests of one worker.

    Args:
        config: the settings.
        audience: who is told the causes of errors.
        records: where requests are recorded.
        timeouts: the worker's deadlines.
        chain: admits a request.
        failures: is told of versions that have failed and answer again.
        retrier: sends a request again when its version has refused it.
        tells_version: whether answers say which version they are from.

    Attributes:
        chain: as given.
        rewriter: what is written into heads.
        limits_total: whether `response_timeout` ends requests.
    """

    def __init__(
        self,
        config: RouterConfig,
        audience: Audience,
        records: RequestRecorder,
        timeouts: Timeouts,
        chain: Chain,
        failures: FailureDetector,
        retrier: Retrier,
        tells_version: bool = False,
    ) -> None:
        self._audience = audience
        self._refusals = RateRefusals(audience)
        self._records = records
        self._timeouts = timeouts
        self.chain = chain
        self._failures = failures
        self._retrier = retrier
        self.rewriter = Rewriter(config, tells_version)
        self.limits_total = config.response_timeout > 0
        self._ids = request_ids()

    def transaction_of(self, request: ClientRequest) -> Transaction:
        """A new one, with the client's request id or one of ours."""
        return Transaction(self._records, request, request.head.request_id or next(self._ids))

    def forward(
        self, request: ClientRequest, transaction: Transaction | None = None, begun: Begun | None = None
    ) -> WsgiResponse:
        """Sends `request` to the active version; returns what passes the response on, or the router's own.

        `transaction` and `begun` say how far somebody else has come with it: to its claim, or on a connection.
        """
        if transaction is None:  # `transaction_of`, without a call for each request
            transaction = Transaction(self._records, request, request.head.request_id or next(self._ids))
        try:
            return self._pass_on(transaction, begun)
        except RouterError as error:
            return self.reply(transaction, error)
        except Expired as expired:
            return self.reply(transaction, UpstreamDeadline(f"no answer within {expired.limit.seconds:g} s"))
        except Exception:
            request_id, extra = transaction.request_id.decode("latin-1"), {"request": transaction.about()}
            logger.exception("%s: a fault of the router's own (%s)", request_id, transaction.told(), extra=extra)
            return self.reply(transaction, RouterError("a fault of the router's own"))
        except GreenletExit:  # by a stock worker that stops and does not wait any longer
            return self.reply(transaction, WorkerStopped("the worker ends"))
        except BaseException:
            if transaction.row is None:
                transaction.claim(NOWHERE)
            transaction.end(WorkerStopped.status, WorkerStopped.cause)
            raise

    def _pass_on(self, transaction: Transaction, begun: Begun | None) -> WsgiResponse:
        """Past the filters, to the version, and back."""
        if transaction.row is None:
            refusal = self.chain.admit(transaction)
            if refusal is not None:
                return self.reply(transaction, refusal)
        if self.limits_total:
            transaction.limit_total(self._timeouts.total)
        target = transaction.target
        message = self.rewriter.request(transaction)
        circuit = target.circuit
        if begun is None:
            transaction.sent_us = monotonic_ns() // 1000
        else:
            message.begun = begun
        try:
            response = target.send(message)
        except (UpstreamError, PoolExhausted) as error:
            again = self._retrier.send_again(transaction, message, error, self.rewriter.request)
            if isinstance(again, Reply):
                return self.reply(transaction, again)
            response = again
        else:
            if circuit is not None:
                self._failures.answered(target, circuit)
        transaction.head_us = monotonic_ns() // 1000
        lines = self.rewriter.response_lines(transaction, response.head)
        if response.status_code == 101:
            return Tunnel(transaction, response, lines, self._timeouts.tunnel)
        return ResponseRelay(transaction, response, lines, self._timeouts.reading, self._timeouts.sending)

    def send_rest(
        self, transaction: Transaction, head: ResponseHead, data: bytes, size: int, sent: int
    ) -> WsgiResponse:
        """Goes on with a response that is here as a whole, `data`, of whose bytes `sent` are out.

        `size` bytes of it are its head.
        """
        response = UpstreamResponse.ended(head)
        relay = ResponseRelay(transaction, response, b"", self._timeouts.reading, self._timeouts.sending)
        relay.begun = data, size, sent
        return relay

    def refuse(self, request: ClientRequest, error: RouterError) -> ErrorReply:
        """The router's own response to a request that goes past no filter: it is not fit to be forwarded."""
        transaction = self.transaction_of(request)
        transaction.claim(NOWHERE)
        return self._error(transaction, error)

    def refusal(self, transaction: Transaction, error: RateLimited) -> tuple[bytes, int]:
        """What a limit has a client told, and how many bytes of it are the body; the next step is to send it.

        The transaction has no claim yet, and has that of no version then.
        """
        transaction.claim(transaction.target)
        transaction.is_preview = False
        transaction.first_byte_us = monotonic_ns() // 1000
        return self._refusals.compose(transaction, error)

    def reply(self, transaction: Transaction, answer: RouterError | Reply) -> LocalReply:
        """What the router says itself, on the record of the version that was claimed, or of none."""
        is_claimed = transaction.row is not None
        if not is_claimed:
            transaction.claim(transaction.target)
        if isinstance(answer, Reply):
            return LocalReply(transaction, answer, self._timeouts.sending)
        # A visit that never got to the standby is counted as any request that is refused.
        transaction.is_preview = transaction.is_preview and is_claimed
        return self._error(transaction, answer)

    def _error(self, transaction: Transaction, error: RouterError) -> ErrorReply:
        return ErrorReply(transaction, error, self._timeouts.sending, self._audience.may_know(transaction.request))
