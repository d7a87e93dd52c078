"""An answer that is cut ends in a reset, whatever cut it: also where the end of the connection is all that ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.integration.event_streams import GET, Events, Stage, staged
from tests.support.waiting import wait_until

KINDS = {
    "POST": b"POST /v1 HTTP/1.1\r\nHost: x.test\r\nContent-Length: 2\r\n\r\n{}",
    "EventSource": GET,
    "HTTP/1.0": b"POST /v1 HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    "EventSource of HTTP/1.0": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
}
HANDED_OVER = {kind: request for kind, request in KINDS.items() if kind.startswith("EventSource")}


def kill_the_worker(stage: Stage) -> None:
    [pid] = stage.router.worker_pids
    os.kill(pid, signal.SIGKILL)


def break_the_version(stage: Stage) -> None:
    stage.blue.reset()


WAYS: dict[str, Callable[[Stage], object]] = {
    "its version breaks off": break_the_version,
    "the deadline of a hand-over": lambda stage: stage.switch("green"),
    "graceful_timeout of a reload": lambda stage: stage.router.reload(),
    "a killed worker": kill_the_worker,
    "a stop that does not wait": lambda stage: stage.router.process.send_signal(signal.SIGINT),
}
LEAVE_NOBODY = ("a killed worker", "a stop that does not wait")


def ends_of(stage: Stage, kinds: dict[str, bytes], cut: Callable[[Stage], object]) -> dict[str, str]:
    """How each kind of stream ends that is cut in the middle of an event."""
    with ExitStack() as stack:
        clients = {}
        for kind, request in kinds.items():
            events = Events(stage.blue, request=request)
            clients[kind] = stack.enter_context(events.open(stage.router))
            events.send(b"data: 1")
            clients[kind].wire.read_through(b"data: 1")
        for client in clients.values():
            client.take_waiting()  # the end of a chunk
        cut(stage)
        return {kind: client.how_it_ends() for kind, client in clients.items()}


def test_answer_that_is_cut_is_reset_whatever_cuts_it(tmp_path: Path) -> None:
    with staged(tmp_path, graceful_timeout=1, drain_timeout=2, handover_window=0) as stage:
        for way, cut in WAYS.items():
            wait_until(lambda: len(stage.router.worker_pids) == 1, "the one worker")
            stage.switch("blue")
            kinds = HANDED_OVER if "hand-over" in way else KINDS
            ends = ends_of(stage, kinds, cut)
            # What is chunked lacks its last chunk, which says as much (RFC 9112 §8) when nobody is left to reset it.
            chunked = {"closed", "reset"} if way in LEAVE_NOBODY else {"reset"}
            assert all(end in chunked for kind, end in ends.items() if "HTTP/1.0" not in kind), (way, ends)
            assert all(end == "reset" for kind, end in ends.items() if "HTTP/1.0" in kind), (way, ends)
