"""One request on its way: its claim, what it has done so far, and its end, which is recorded exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, NamedTuple, Protocol

from gevent import getcurrent

from app.errors import CAUSES
from app.logins.remembered import TokenClaims
from app.metrics.exclusion import Exclusion
from app.protocol.response import ResponseHead
from app.proxy.client_request import ClientRequest
from app.proxy.delays import Delays
from app.proxy.limited import Limited
from app.proxy.long_lived import LongLived
from app.proxy.passage import NO_CLAIMS, Passage
from app.proxy.sharing import Assignment
from app.proxy.tape import Tape
from app.routing.targets import NOWHERE, Claims, Target
from app.transport.deadlines import Deadlines

__all__ = ["CAUSE_INDEX", "PreviewTokens", "Recorder", "RequestLog", "RequestRecorder", "Transaction", "Tried"]

CAUSE_INDEX = {cause: index for index, cause in enumerate(CAUSES)}


class Recorder(Claims, Protocol):
    """Where requests are counted; `app.metrics.slot.SlotWriter` in a worker."""

    def send_to(self, row: int, who: int) -> None:
        """Lists with a request which of its version's backends it goes to."""

    def finish(
        self,
        row: int,
        version: int,
        *,
        status: int,
        cause: int,
        bytes_in: int,
        bytes_out: int,
        total_us: int,
        first_byte_us: int,
        upstream_us: int,
    ) -> None:
        """Counts a request as done."""

    def count_cut(self, row: int, version: int, cause: int, now_us: int) -> None:
        """Counts a request whose answer is broken off."""

    def count_stream(self, version: int, end: str) -> None:
        """Counts a request as an event stream or tunnel, by its end: "handed_over", "finished" or "cut"."""

    def count_retry(self, version: int) -> None:
        """Counts one more attempt at a request."""

    def hold(self, change: int) -> None:
        """Says that one more request is held back (1), or one less (-1)."""

    def count_held(self, version: int, held_us: int) -> None:
        """Counts a request that was held back for a while."""

    def count_queued(self, version: int, queued_us: int) -> None:
        """Counts a request that has waited for a while for room on a version's backends."""

    def count_login(self, outcome: int) -> None:
        """Counts what a login has said, as `app.logins.refusals.OUTCOMES` has it."""


class RequestLog(Protocol):
    """Where each request gets a line; `app.proxy.access_log.AccessLog` in a worker."""

    def write(self, transaction: Transaction, status: int, cause: str, bytes_in: int, now_us: int) -> None:
        """Writes the line of a request that has ended, soon."""

    def flush(self) -> None:
        """Writes what there is by now."""

    def finish(self, limit_s: float) -> None:
        """Writes all there is, within so many seconds."""

    def reopen(self) -> None:
        """Goes on in the file that has the configured name now."""


class RequestRecorder:
    """What a worker writes its requests into.

    Args:
        recorder: the worker's slot of the shared metrics.
        access_log: None when it is off.
        counts: whether requests are counted (`metrics_enabled`); claims always are.
        excluded: exact paths, and prefixes that end with `*`, whose requests are not counted.

    Attributes:
        long_lived: the requests among them that have no end by themselves.
        visiting: the same among visits of the standby, which are not ended because it is not active.
    """

    __slots__ = ("_counts", "_excluded", "access_log", "counts_all", "long_lived", "recorder", "visiting")

    def __init__(
        self, recorder: Recorder, access_log: RequestLog | None, counts: bool, excluded: tuple[str, ...] = ()
    ) -> None:
        self.recorder = recorder
        self.access_log = access_log
        self.long_lived = LongLived()
        self.visiting = LongLived()
        self._counts = counts
        self.counts_all = counts and not excluded
        self._excluded = Exclusion(excluded)

    def leaves_out(self, target: bytes) -> bool:
        """Whether a request for `target` is not counted."""
        return not self._counts or self._excluded.covers(target)


class Tried(NamedTuple):
    """The backends of a version, as one state has it, that have refused a request."""

    whole: Target
    backends: set[int]


@dataclass(frozen=True, slots=True)
class PreviewTokens:
    """The tokens that a request carried, b"" each for none."""

    query: bytes = b""
    field: bytes = b""
    cookie: bytes = b""


class Transaction:
    """A request from the moment when its head is read until its end.

    Attributes:
        request: what is on its way.
        request_id: ties access log, answer and upstream together.
        pick: what chooses the version, set by a filter; None is the active version.
        tokens: what a preview's link, cookie or field said; None until one was looked for and found.
        is_preview: it visits the standby: it is not held, not counted, and its answer not to be stored.
        assignment: which of two versions in traffic it was given to; None while the state has no split.
        backend_cookie: the value of the cookie that names the backend which the client has had; b"" for none.
        limited: what the limits have done about it; None where none is about it.
        passage: what a login has found; None where none was asked.
        queued_until: monotonic seconds: up to when it waits for room on a backend; 0 where it did not have to.
        tried: which backends have refused it; None until one has.
        row, target: the claim, its row in the in-flight table and the version; the row is None while there is none, and
            the target then whoever has a refusal to answer for.
        delays: what has kept it; None where nothing has.
        tape: keeps what passes of the bodies, while they are recorded.
        response: the application's answer, where somebody wants to read its fields later.
        sent_us, head_us: monotonic microseconds when the request was sent and the answer's head was here; 0 before.
        first_byte_us: when the first byte of the answer was ready to be sent to the client; 0 before, and where it is
            known that the client has not got all of the answer's head.
        bytes_in: bytes that came from the client outside the request's body, through a tunnel.
        bytes_out: bytes of the answer's body that the kernel has taken for the client.
        stream: how an event stream or a tunnel ends unless it is cut, "finished" or "handed_over"; "" for all others.
    """

    __slots__ = (
        "_records",
        "_total",
        "assignment",
        "backend_cookie",
        "bytes_in",
        "bytes_out",
        "delays",
        "first_byte_us",
        "head_us",
        "is_over",
        "is_preview",
        "limited",
        "passage",
        "pick",
        "queued_until",
        "request",
        "request_id",
        "response",
        "row",
        "sent_us",
        "stream",
        "tape",
        "target",
        "tried",
        "tokens",
    )

    def __init__(self, records: RequestRecorder, request: ClientRequest, request_id: bytes) -> None:
        self._records = records
        self.request = request
        self.request_id = request_id
        self.pick: Callable[[], Target] | None = None
        self.tokens: PreviewTokens | None = None
        self.is_preview = False
        self.passage: Passage | None = None
        self.backend_cookie = b""
        self.assignment: Assignment | None = None
        self.limited: Limited | None = None
        self.queued_until = 0.0
        self.tried: Tried | None = None
        self.delays: Delays | None = None
        self.response: ResponseHead | None = None
        self.tape: Tape | None = None
        self.row: int | None = None
        self.target = NOWHERE
        self.sent_us = 0
        self.head_us = 0
        self.first_byte_us = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.stream = ""
        self.is_over = False
        self._total: tuple[Deadlines, Any] | None = None

    @property
    def recorder(self) -> Recorder:
        """Where it is counted."""
        return self._records.recorder

    @property
    def long_lived(self) -> LongLived:
        """Where a request that has no end by itself is known."""
        return self._records.visiting if self.is_preview else self._records.long_lived

    @property
    def claims(self) -> TokenClaims:
        """What the token of its login says; nothing without one."""
        return NO_CLAIMS if self.passage is None else self.passage.claims

    @property
    def login(self) -> str:
        """Which login was asked about it, and why that refused it: `admin`, `admin: expired`; "" where none was."""
        return "" if self.passage is None else self.passage.login

    def told(self) -> str:
        """The request as a log line names it: what it asks for, who asks, and the version and its release, if any."""
        about = self.about()
        where = f"{about['version']} {about['release'] or ''}".rstrip() or "no version"
        return f"{about['method']} {about['path']} from {about['client']}, {where}"

    def about(self, cause: str = "") -> dict[str, str | None]:
        """The same for programs, in the names of the access log; `extra` of a log record, under `request`."""
        head, target = self.request.head, self.target
        return {
            "request_id": self.request_id.decode("latin-1"),
            "client": self.request.client_address,
            "method": head.method.decode("latin-1"),
            "path": head.target.partition(b"?")[0].decode("latin-1"),
            "version": target.name,
            "release": target.release or None,
            **({"cause": cause} if cause else {}),
        }

    def delayed(self) -> Delays:
        """What has kept it, to add to."""
        if self.delays is None:
            self.delays = Delays()
        return self.delays

    def limit_total(self, total: Deadlines) -> None:
        """Raises `Expired` in the current greenlet when the request is not over in time."""
        self._total = (total, getcurrent())
        total.add(self._total[1])

    def lift_limit(self) -> None:
        """Lets the request take as long as it takes."""
        if self._total is not None:
            deadlines, greenlet = self._total
            deadlines.discard(greenlet)

    # --- its claim ----------------------------------------------------------------------------------------

    def release(self) -> None:
        """Gives the claim back: the request waits and is in flight on no version."""
        assert self.row is not None
        self._records.recorder.unclaim(self.row, self.target.version)
        if self.target.leave is not None:
            self.target.leave()
        self.row, self.target = None, NOWHERE

    def move_to(self, backend: Target) -> None:
        """Goes to a backend of its version, on which it counts already."""
        if self.target.leave is not None:
            self.target.leave()
        self.target = backend
        assert self.row is not None
        self._records.recorder.send_to(self.row, backend.who)

    def claim(self, target: Target) -> None:
        """Claims a version of which nothing is asked: the one that the request was meant for, or none at all."""
        head = self.request.head
        started_us = self.request.started_us
        start = self._records.recorder.start
        self.row = start(target.version, head.method, head.target, started_us, self.request_id)
        self.target = target

    # --- on its way ---------------------------------------------------------------------------------------

    def depart(self) -> None:
        """The request is sent now."""
        self.sent_us = monotonic_ns() // 1000

    def sent_in_part(self, taken: int, size: int, head: int, body: int) -> None:
        """Counts what has gone out of an answer's part whose sending failed.

        Args:
            taken, size: bytes that went out, and of how many.
            head: bytes of the answer's head, with which the part begins; 0 for one behind it.
            body: bytes of the answer's body in it, as they are or in one chunk.
        """
        if taken < head:
            self.first_byte_us = 0
        begins = head if head + body == size else head + len(b"%x\r\n" % body)
        self.bytes_out += min(max(taken - begins, 0), body)

    # --- the end ------------------------------------------------------------------------------------------

    def end(self, status: int, cause: str = "none", is_cut: bool = False) -> None:
        """Releases the claim and records the request; only the first call counts.

        Args:
            status: what the client saw; 499 when it had left before it had the whole head.
            cause: one of `app.errors.CAUSES`.
            is_cut: whether the answer was broken off by us or by the version.
        """
        if self.is_over:
            return
        self.is_over = True
        if self._total is not None:
            self.lift_limit()
        assert self.row is not None, "what ends was claimed, were it on no version"
        request = self.request
        records = self._records
        target = self.target
        version = target.version
        if target.leave is not None:
            target.leave()
        if self.limited is not None and self.limited.leaves:
            self.limited.leave()
        now_us = monotonic_ns() // 1000
        bytes_in = self.bytes_in if request.body is None else request.body.size + self.bytes_in
        if self.is_preview or (not records.counts_all and records.leaves_out(request.head.target)):
            records.recorder.unclaim(self.row, version)
        else:
            if is_cut:
                records.recorder.count_cut(self.row, version, CAUSE_INDEX[cause], now_us)
            if self.stream:
                records.recorder.count_stream(version, "cut" if is_cut else self.stream)
            started_us = request.started_us
            if self.assignment is not None:
                self.assignment.end(request, version, status, cause, now_us - started_us, not self.stream)
            records.recorder.finish(
                self.row,
                version,
                status=status,
                cause=CAUSE_INDEX[cause],
                bytes_in=bytes_in,
                bytes_out=self.bytes_out,
                total_us=now_us - started_us,
                first_byte_us=self.first_byte_us - started_us,
                upstream_us=self.head_us - self.sent_us if self.head_us else -1,
            )
        if records.access_log is not None:
            records.access_log.write(self, status, cause, bytes_in, now_us)
