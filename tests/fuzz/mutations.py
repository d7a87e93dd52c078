"""Inputs: messages of the corpus, cut, spliced and seeded with what parsers disagree about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

CORPUS = Path(__file__).resolve().parents[1] / "corpus"

TRICKS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"\x0b", b"\x7f", b"\x80", b"\xff"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"content-length:+1\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Host: y.test\r\n"),
    *(b"Connection: close\r\n", b"Connection: Host, X-A\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    *(b"X-Forwarded-For: 6.6.6.6\r\n", b"X_Forwarded_For: 6.6.6.6\r\n", b"X-Forwarded-For:6.6.6.6 \r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"00000000000000005;a=b\r\n", b"5;\r\n", b"-1\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0", b"HTTP/2.0", b"http://y.test/"),
]
"""Bytes that two parsers may read in two ways."""

CHUNKED_SEEDS = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"1;a=b\r\nx\r\n0\r\nX-Sum: 1\r\nA: 2\r\n\r\nGET",
    b"A\r\n0123456789\r\n0;l\r\n\r\n",
]


def seeds(target: str) -> list[bytes]:
    """What to begin with: messages of the corpus of moderate size."""
    if target == "chunks":
        return CHUNKED_SEEDS
    folder = CORPUS / target
    found = [path.read_bytes() for path in sorted(folder.rglob("*.http"))]
    return [raw for raw in found if len(raw) < 2000]


def inputs(target: str, random: Random) -> Iterator[bytes]:
    """An endless stream of inputs: first the seeds as they are, then mutations of them."""
    known = seeds(target)
    yield from known
    while True:
        data = random.choice(known)
        for _ in range(random.randint(1, 4)):
            data = _mutated(data, random.choice(known), random)
        yield data


def _mutated(data: bytes, other: bytes, random: Random) -> bytes:
    """One change: a byte, a trick, a piece left out or doubled, or another message's end."""
    at = random.randint(0, len(data))
    until = min(len(data), at + random.randint(1, 12))
    return random.choice(
        [
            data[:at] + bytes([random.randrange(256)]) + data[at + 1 :],
            data[:at] + random.choice(TRICKS) + data[at:],
            data[:at] + random.choice(TRICKS) + data[until:],
            data[:at] + data[until:],
            data[:until] + data[at:],
            data[:at] + other[random.randint(0, len(other)) :],
        ]
    )
