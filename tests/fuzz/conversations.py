"""Inputs for the lane: what a client says and when, and what the version answers and when.

An input is a conversation as JSON, so that a finding is a file as any other, and can be read and cut down by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from tests.fuzz.mutations import inputs
from tests.support.raw_upstream import reply

__all__ = ["Answer", "Conversation", "conversations"]


class Answer(NamedTuple):
    """What the version does with a request: `parts` of its answer, one after the other, and what comes then.

    `end` is "keep", or how its connection ends: "close" or "reset". `is_early`: it answers before it reads the body.
    """

    parts: list[bytes]
    end: str = "keep"
    is_early: bool = False


class Conversation(NamedTuple):
    """One connection of a client.

    `said` is what it sends, each piece with whether it then waits until nothing more happens. `answers` are those to
    the first request, the second and so on, and from the beginning again. `leaves`: it closes at the end of it, and
    does not listen to the rest.
    """

    said: list[tuple[bytes, bool]]
    answers: list[Answer]
    leaves: bool = False

    def encoded(self) -> bytes:
        """As JSON, bytes as latin-1."""
        said = [(data.decode("latin-1"), waits) for data, waits in self.said]
        answers = [([part.decode("latin-1") for part in parts], *rest) for parts, *rest in self.answers]
        return json.dumps({"said": said, "answers": answers, "leaves": self.leaves}).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Conversation:
        """What was encoded."""
        found = json.loads(data)
        said = [(text.encode("latin-1"), waits) for text, waits in found["said"]]
        answers = [Answer([part.encode("latin-1") for part in parts], *rest) for parts, *rest in found["answers"]]
        return cls(said, answers, found["leaves"])


# --- what clients say ---------------------------------------------------------------------------------------

TARGETS = (b"/", b"/", b"/a?b=1", b"/%20", b"/__router_none", b"/a?__router_preview=a.1.b", b"http://shop.test/a")
PLAIN_LINES = (
    *(b"", b"", b"Connection: keep-alive\r\n", b"X-Request-ID: mine-1\r\n", b"Via: 1.1 a\r\nTE: trailers\r\n"),
    *(
        b"Cookie: a=1\r\nCookie: b=2\r\n",
        b"User-Agent: \xe9\r\n",
        b"X-Forwarded-For: 6.6.6.6\r\n",
        b"Range: bytes=1-\r\n",
    ),
)
ODD_LINES = (
    *(b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"X-Router-Preview: x\r\n"),
    *(b"Content-Length: 0\r\n", b"Content-Length: x\r\n", b"Host: again\r\n", b"Connection: Host\r\n", b" folded\r\n"),
    *(b"Expect: 100-continue\r\n", b"Accept: text/event-stream\r\n", b"Upgrade: h2c\r\n", b"X-A: 1\nX-B: 2\r\n"),
)
METHODS = (b"GET", b"GET", b"GET", b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"POST", b"PUT")
BODIES = (
    *(b"Content-Length: 3\r\n\r\nabc", b"Content-Length: 9\r\n\r\nabc", b"Content-Length: 2\r\n\r\nabc"),
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;a=b\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
    b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
)


def _request(random: Random, mutated: Iterator[bytes]) -> bytes:
    kind = random.choices(("plain", "odd", "body", "old", "mutated"), (12, 3, 3, 1, 3))[0]
    if kind == "mutated":
        return next(mutated)
    method = random.choice((b"POST", b"PUT", b"PATCH", b"GET") if kind == "body" else METHODS)
    head = b"%b %b HTTP/1.%d\r\nHost: shop.test\r\n" % (method, random.choice(TARGETS), kind != "old")
    head += random.choice(ODD_LINES if kind == "odd" else PLAIN_LINES)
    if kind == "body":
        return head + random.choice(BODIES)
    return b"\r\n" * (random.random() < 0.1) + head + b"\r\n"


def _said(random: Random, mutated: Iterator[bytes]) -> list[tuple[bytes, bool]]:
    """Requests, most of them one by one; some pipelined, some in pieces."""
    said: list[tuple[bytes, bool]] = []
    pending = b""
    for _ in range(random.randint(1, 4)):
        pending += _request(random, mutated)
        if random.random() < 0.2:
            continue  # the next one comes with it
        said += _in_pieces(pending, random, 0.3)
        pending = b""
    return said + _in_pieces(pending, random, 0.3)


def _in_pieces(data: bytes, random: Random, share: float) -> list[tuple[bytes, bool]]:
    """The data, in a share of all cases cut at some places; each piece with whether there is a wait after it."""
    if not data:
        return []
    places = [0, len(data)]
    if len(data) > 1 and random.random() < share:
        places += {random.randint(1, len(data) - 1) for _ in range(random.randint(1, 3))} - {0, len(data)}
    places.sort()
    pieces = [(data[begin:end], random.random() < 0.5) for begin, end in zip(places, places[1:], strict=False)]
    return [*pieces[:-1], (pieces[-1][0], random.random() < 0.8)]


# --- what the version answers -------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ORDINARY = (
    reply(b"whole"),
    reply(b"whole", fields=[(b"Set-Cookie", b"a=1"), (b"Keep-Alive", b"timeout=5"), (b"Server", b"x")]),
    reply(b"", b"500 Internal Server Error"),
    reply(b"l" * 5000),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
)
WHOLE = (
    *ORDINARY,
    reply(b"l" * 300_000),
    CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"late"),
    b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"late"),
    reply(b"", b"426 Upgrade Required", [(b"Upgrade", b"h9"), (b"Connection", b"Upgrade")]),
    reply(b"old").replace(b"HTTP/1.1", b"HTTP/1.0"),
    reply(b"old", fields=[(b"Connection", b"keep-alive")]).replace(b"HTTP/1.1", b"HTTP/1.0"),
    reply(b"last", fields=[(b"Connection", b"close")]),
    reply(b"one") + b"HTTP/1.1 200 OK\r\n",
)
"""After these a version may keep its connection, and the router knows where they end."""

UNENDED = (
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
    b"",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    CHUNKED + b"3\r\nabc\r\n",
    CHUNKED + b"3\r\nabc\r\nx\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"SSH-2.0-x\r\n",
)


def _answer(random: Random, mutated: Iterator[bytes]) -> Answer:
    kind = random.choices(("ordinary", "whole", "unended", "mutated"), (10, 5, 2, 3))[0]
    is_early = random.random() < 0.1
    if kind in ("ordinary", "whole"):
        raw = random.choice(ORDINARY if kind == "ordinary" else WHOLE)
        end = random.choices(("keep", "close", "reset"), (16, 3, 1))[0]
    else:
        raw = random.choice(UNENDED) if kind == "unended" else next(mutated)
        end = random.choice(("close", "close", "reset"))
    return Answer([part for part, _ in _in_pieces(raw, random, 0.35)], end, is_early)


def conversations(random: Random) -> Iterator[bytes]:
    """An endless stream of them."""
    heads, answers = inputs("requests", random), inputs("responses", random)
    while True:
        said = _said(random, heads)
        answered = [_answer(random, answers) for _ in range(random.randint(1, 4))]
        yield Conversation(said, answered, random.random() < 0.05).encoded()
