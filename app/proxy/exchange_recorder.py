"""Whole exchanges, recorded for a while: nothing of it is on a request's way unless it was asked for."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC
from logging import getLogger
from pathlib import Path

from app.metrics.exclusion import Exclusion
from app.proxy.client_request import ClientBody, ClientRequest
from app.proxy.exchange_record import exchange_line
from app.proxy.forwarder import Forwarder, WsgiResponse
from app.proxy.request_log.logged_request import LoggedRequest
from app.proxy.request_log.outlet import Outlet
from app.proxy.tape import Tape, TapedBody
from app.proxy.transaction import RequestLog, RequestRecorder, Transaction
from app.redaction import Redaction
from app.settings.tables.router_settings import RouterConfig
from app.state.recording_order import NAME, RecordingOrder, read_order

__all__ = ["ExchangeRecorder"]

logger = getLogger(__name__)


class ExchangeRecorder:
    """Looks each second whether a command has asked for a recording, and makes it.

    While there is one, all requests go the ordinary way, those of its paths with a tape, and the access log of the
    worker is led past here. It ends by itself when its time is over, or its file or the disk is full.

    Args:
        config: where the order lies, and what is masked.
        forwarder: what requests are given to.
        records: where requests are recorded.
    """

    def __init__(self, config: RouterConfig, forwarder: Forwarder, records: RequestRecorder) -> None:
        self._config = config
        self._forwarder = forwarder
        self._records = records
        self._path = Path(config.beside_state(NAME))
        self._seen = 0  # the order's time stamp
        self._tapes: _ExchangeLog | None = None
        self._paths = Exclusion(())
        self._followers: list[Callable[[bool], None]] = []

    def follow(self, follower: Callable[[bool], None]) -> None:
        """Has somebody told whenever a recording begins or ends."""
        self._followers.append(follower)

    def look(self) -> None:
        """Begins what was asked for since, or ends what is over."""
        try:
            stamp = os.stat(self._path).st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._seen:
            self._seen = stamp
            self._end()
            order = read_order(self._path) if stamp else None
            if order is not None and order.until > time.time():
                self._begin(order)
        elif self._tapes is not None and self._tapes.is_over:
            if self._tapes.fault:  # there is no room for the other workers either, and the command need not wait
                with suppress(OSError):
                    self._path.unlink()
            self._end()

    def forward(self, request: ClientRequest) -> WsgiResponse:
        """As the forwarder does, with a tape for what is to be recorded."""
        if self._tapes is None or not self._paths.covers(request.head.target):
            return self._forwarder.forward(request)
        transaction = self._forwarder.transaction_of(request)
        tape = transaction.tape = Tape(self._tapes.order.max_body)
        if isinstance(request.body, ClientBody):
            request.body = TapedBody(request, self._config, tape)
        return self._forwarder.forward(request, transaction)

    def _begin(self, order: RecordingOrder) -> None:
        records = self._records
        try:
            self._tapes = _ExchangeLog(order, records.access_log, Redaction(self._config.log.access_log_redact))
        except OSError as error:
            logger.warning("exchanges cannot be recorded into %s: %s", order.file, error.strerror)
            return
        logger.warning("exchanges of %s are recorded into %s", " ".join(order.paths), order.file)
        self._paths = Exclusion(order.paths)
        records.access_log = self._tapes
        self._tell(True)

    def _end(self) -> None:
        tapes, self._tapes = self._tapes, None
        if tapes is not None:
            self._records.access_log = tapes.inner
            self._tell(False)
            tapes.close()
            logger.warning("exchanges are not recorded any more%s", tapes.fault and f": {tapes.fault}")

    def _tell(self, is_on: bool) -> None:
        self._forwarder.rewriter.notes_responses(is_on)
        for follower in self._followers:
            follower(is_on)


class _ExchangeLog:
    """Stands before a worker's access log, if there is one, and writes the exchanges that have a tape.

    Attributes:
        fault: why no more can be written; "" while it can.

    Raises OSError when the file cannot be opened, or others may read it.
    """

    def __init__(self, order: RecordingOrder, inner: RequestLog | None, redaction: Redaction) -> None:
        self.order = order
        self.inner = inner
        self._redaction = redaction
        self._descriptor = os.open(order.file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        found = os.fstat(self._descriptor).st_mode
        if not stat.S_ISREG(found) or found & 0o077:
            self.close()
            raise PermissionError(0, "it is no file that only its owner may read")
        self._outlet = Outlet(self._descriptor, is_own=True)
        self.fault = ""

    @property
    def is_over(self) -> bool:
        """Whether the time is over or there is no room."""
        return bool(self.fault) or time.time() >= self.order.until

    def write(self, transaction: Transaction, status: int, cause: str, bytes_in: int, now_us: int) -> None:
        """Writes the exchange, and the line of the request."""
        if self.inner is not None:
            self.inner.write(transaction, status, cause, bytes_in, now_us)
        tape, transaction.tape = transaction.tape, None
        if tape is None or self.is_over:
            return
        done = LoggedRequest(transaction, status, cause, bytes_in, now_us)
        line = exchange_line(done, tape, self._redaction, self.order.max_body)
        try:
            if os.fstat(self._descriptor).st_size + len(line) > self.order.max_bytes:
                self.fault = "the file is full"
                return
            written = self._outlet.write(line, 0)
            if written < len(line):
                self._outlet.take_back(written)
                self.fault = os.strerror(ENOSPC)
        except OSError as error:
            self.fault = error.strerror or str(error)

    def flush(self) -> None:
        """As the log does."""
        if self.inner is not None:
            self.inner.flush()

    def reopen(self) -> None:
        """As the log does."""
        if self.inner is not None:
            self.inner.reopen()

    def finish(self, limit_s: float) -> None:
        """As the log does."""
        if self.inner is not None:
            self.inner.finish(limit_s)

    def close(self) -> None:
        """Nothing is recorded any more."""
        os.close(self._descriptor)
