"""The lane and the long way: for any conversation the same bytes to client and version, the same counts and lines.

Client, version and router are greenlets of one thread, and the loopback delivers within the call that sends. So what
happens happens in one order each time, nobody waits for a clock, and a thousand conversations take seconds.
"""

from __future__ import annotations

import atexit
import logging
import re
import shutil
import socket as standard
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import gevent
from gevent import socket

from tests.fuzz.conversations import Answer, Conversation
from tests.support.raw_upstream import OK
from tests.support.two_ways import Way, settled, since, two_ways
from tests.support.wire import Broken, Head, Truncated, Wire

__all__ = ["lane"]

LIMIT_S = 10.0
"""No conversation takes a hundredth of it: who is still at it hangs."""

TRIES = 10
"""A difference that does not come each time is one of timing: a reset takes along what the client had not read yet."""

_LAST = -2
"""The lowest priority that the loop knows."""

WARM = b"GET /warm HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
"""Opens the connection that the lane needs."""


def lane(data: bytes) -> bool:
    """A conversation: both ways give and record the same; says whether the version had a part in it."""
    try:
        conversation = Conversation.decoded(data)
    except ValueError:
        return False  # another target's
    return bool(_pair().compare(conversation)["version"])


class Version:
    """The version behind both ways: it writes down what it gets, and answers as it is told."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        self.open: list[Wire] = []
        self.seen: list[Wire] = []
        """All connections of this conversation, in the order in which they were opened."""
        self.faults: list[str] = []
        self._answers: list[Answer] = []
        self._turn = 0
        self._acceptor = gevent.spawn(self._accept)

    def begin(self, open_: list[Wire], answers: list[Answer]) -> None:
        """From now on it is asked by the way that has these connections."""
        for wire in open_:
            wire.received.clear()
        self.open, self.seen = open_, list(open_)
        self.faults = []
        self._answers = answers
        self._turn = 0

    def received(self) -> list[bytes]:
        """What came on each connection of this conversation on which something came."""
        return [merged(settled(bytes(wire.received))) for wire in self.seen if wire.received]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            wire = Wire(sock)
            sock.settimeout(None)
            self.open.append(wire)
            self.seen.append(wire)
            gevent.spawn(self._serve, wire, self.open)

    def _serve(self, wire: Wire, open_: list[Wire]) -> None:
        try:
            while (head := wire.read_head()) is not None and self._answer(wire, head):
                pass
        except (OSError, Truncated):
            pass  # the router gave up
        except Broken as error:
            self.faults.append(str(error))
        finally:
            wire.close()
            if wire in open_:
                open_.remove(wire)

    def _answer(self, wire: Wire, head: Head) -> bool:
        """Reads the request's body, answers; says whether the connection goes on."""
        answer = self._answers[self._turn % len(self._answers)]
        self._turn += 1
        if not answer.is_early:
            _read_body(wire, head)
        for part in _parts(head, answer):
            wire.send(part)
            gevent.idle()  # the router has it before more comes
        if answer.parts[:1] and answer.parts[0].startswith(b"HTTP/1.1 101"):
            wire.read_to_end()
        elif answer.end == "reset":
            wire.reset()
            return False
        elif answer.end == "close":
            return False
        elif answer.is_early:
            _read_body(wire, head)
        return True


def _read_body(wire: Wire, head: Head) -> None:
    if head.value(b"Transfer-Encoding"):
        wire.read_chunked()
    else:
        wire.read_exactly(int(head.value(b"Content-Length") or b"0"))


def _parts(head: Head, answer: Answer) -> list[bytes]:
    """Those of the answer; after a HEAD that would leave the connection open, no body comes."""
    if head.start_line.startswith(b"HEAD ") and answer.end == "keep":
        whole = b"".join(answer.parts)
        return [whole[: whole.find(b"\r\n\r\n") + 4]]
    return answer.parts


class Side:
    """One of the two ways with the connections that it has to the version."""

    def __init__(self, way: Way, version: Version, listener: standard.socket) -> None:
        self.way = way
        self._version = version
        self._listener = listener
        self._open: list[Wire] = []
        self._figures: dict[str, int] = {}

    def talk(self, conversation: Conversation) -> dict[str, Any]:
        """What client and version got, and what was recorded."""
        if self._make_ready() or not self._figures:
            self._figures = self.way.figures()
            self.way.new_lines()
        version, before = self._version, self._figures
        version.begin(self._open, conversation.answers)
        with noted() as warnings, gevent.Timeout(LIMIT_S, TimeoutError("a side waits for ever")):
            got = self._said(conversation)
        self._figures = self.way.figures()
        assert not version.faults, f"the version got what is no message: {version.faults}"
        return {
            "client": got,
            "version": version.received(),
            "figures": since(self._figures, before),
            "log": self.way.new_lines(),
            "warnings": warnings,
        }

    def _make_ready(self) -> bool:
        """See that one connection to the version is there which has carried a request; says whether it took one."""
        if len(self._open) == 1:
            return False
        for wire in list(self._open):
            wire.close()
        _settle()
        self._version.begin(self._open, [Answer([OK])])
        self._said(Conversation([(WARM, True)], []))
        assert len(self._open) == 1
        return True

    def _forget_habits(self) -> None:
        """What the router learns of how long a version keeps a connection is of the clock, and would differ."""
        pool: Any = self.way.app.service.router.session(self._version.port).connections
        pool._closes_after_s = inf

    def _said(self, conversation: Conversation) -> tuple[bytes, str]:
        """Say it, and listen to the end: all bytes, and how the connection ended."""
        far = standard.create_connection(self._listener.getsockname())
        near, _ = self._listener.accept()
        wire = Wire(socket.socket(far.family, far.type, fileno=far.detach()))
        wire.sock.settimeout(None)
        serving = gevent.spawn(self.way.serving.serve, near, "192.0.2.1")
        listening = gevent.spawn(_listen, wire)
        try:
            for data, waits in conversation.said:
                self._forget_habits()
                wire.send(data)
                _settle() if waits else gevent.sleep(0)
            if conversation.leaves:
                wire.close()
            else:
                wire.finish_writing()
        except OSError:
            pass  # the router has closed; what it said before is heard
        serving.get()
        end: str = listening.get()
        wire.close()
        _settle()
        return merged(settled(bytes(wire.received))), end


def _listen(wire: Wire) -> str:
    """Take all that comes; how it ends."""
    try:
        wire.read_to_end()
    except ConnectionError:
        return "reset"
    except OSError:
        return "left"
    return "closed"


def _settle() -> None:
    """Let everybody do what they can do, the version between its parts as well, which waits with a higher priority.

    Twice, since a timer of no length is looked at in the next round.
    """
    gevent.idle(_LAST)
    gevent.idle(_LAST)


@contextmanager
def noted() -> Iterator[list[bytes]]:
    """What the router's own log is told meanwhile, and nobody else is."""
    told: list[bytes] = []
    logger, handler = logging.getLogger("app"), logging.Handler()
    handler.emit = lambda record: told.append(settled(record.getMessage().encode()))  # type: ignore[method-assign]
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


class Pair:
    """Both ways, and the version behind them."""

    def __init__(self, folder: Path) -> None:
        version = Version()
        listener = standard.create_server(("127.0.0.1", 0))
        self.sides = [Side(way, version, listener) for way in two_ways(folder, version.port)]

    def compare(self, conversation: Conversation) -> dict[str, Any]:
        """Have it on both ways. Raises AssertionError when they differ, again and again."""
        for number in range(TRIES):
            short, long = (side.talk(conversation) for side in self.sides)
            if short == long:
                return short
            differing = {name: (short[name], long[name]) for name in short if short[name] != long[name]}
            sys.stderr.write(f"try {number + 1} differs: {differing}\nof {conversation}\n")
        raise AssertionError(f"the lane and the long way differ: {differing}")


@cache
def _pair() -> Pair:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Pair(Path(folder))


CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:;[^\r\n]*)?\r\n")


def merged(stream: bytes) -> bytes:
    """Messages with the chunks of each body put together: how they are cut is nobody's business."""
    found = b""
    while (at := stream.find(b"Transfer-Encoding: chunked\r\n")) >= 0 and (end := stream.find(b"\r\n\r\n", at)) >= 0:
        found += stream[: end + 4]
        body, stream = _merged_body(stream[end + 4 :])
        found += body
    return found + stream


def _merged_body(stream: bytes) -> tuple[bytes, bytes]:
    """A chunked body as one chunk, and what follows its last one that has any data."""
    body = b""
    while (line := CHUNK.match(stream)) and (size := int(line[1], 16)):
        end = line.end() + size
        if stream[end : end + 2] != b"\r\n":
            break
        body += stream[line.end() : end]
        stream = stream[end + 2 :]
    return b"<%b>" % body, stream
