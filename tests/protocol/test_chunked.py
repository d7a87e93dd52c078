"""The chunked coding: decoded the same in any split, bounded in every part, refused where it is ambiguous."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from httptools import HttpParserError, HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from app.protocol.chunked import LAST_CHUNK, ChunkedDecoder, encode_chunk, encode_last_chunk
from app.protocol.trailers import safe_trailers
from tests.protocol.messages import chunked_bodies, cuts, split


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a stream: the body, the trailer section and what follows the message."""

    body: bytes
    trailers: bytes
    rest: bytes
    done: bool


def decode(pieces: list[bytes]) -> Decoded:
    """Feeds the pieces one by one; what comes after the end is kept as it is. Raises ValueError."""
    decoder = ChunkedDecoder()
    body = rest = b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            more, rest = decoder.feed(piece)
            body += more
    safe_trailers(decoder.trailers)
    return Decoded(body, decoder.trailers, rest, decoder.done)


def outcome(pieces: list[bytes]) -> Decoded | None:
    """`decode`, with None for a refusal."""
    try:
        return decode(pieces)
    except ValueError:
        return None


Cut = Callable[[bytes], list[bytes]]


def at_once(data: bytes) -> list[bytes]:
    """All of it in one piece."""
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    """As slowly as a network can be."""
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize(
    ("raw", "body", "trailers"),
    [
        pytest.param(b"0\r\n\r\n", b"", b"", id="empty"),
        pytest.param(b"3\r\nabc\r\n0\r\n\r\n", b"abc", b"", id="one-chunk"),
        pytest.param(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", b"", id="two-chunks"),
        pytest.param(b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"", id="upper-case-digit"),
        pytest.param(b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"", id="lower-case-digit"),
        pytest.param(b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x", b"", id="sixteen-digits"),
        pytest.param(b"1;n=v\r\nx\r\n0;last\r\n\r\n", b"x", b"", id="extensions"),
        pytest.param(b"1 ;n\r\nx\r\n0\t;n\r\n\r\n", b"x", b"", id="white-space-before-extension"),
        pytest.param(b'1;n="a;b"\r\nx\r\n0\r\n\r\n', b"x", b"", id="quoted-extension"),
        pytest.param(b"0\r\nX-Sum: 1\r\n\r\n", b"", b"X-Sum: 1\r\n", id="trailer"),
        pytest.param(b"1\r\nx\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", b"x", b"A: 1\r\nB: 2\r\n", id="trailers"),
        pytest.param(b"5\r\n\r\n\r\n0\r\n0\r\n\r\n", b"\r\n\r\n0", b"", id="data-that-looks-like-framing"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [at_once, byte_by_byte])
def test_decoded(raw: bytes, body: bytes, trailers: bytes, cut: Cut) -> None:
    assert decode(cut(raw)) == Decoded(body, trailers, b"", True)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"g\r\n", id="not-hexadecimal"),
        pytest.param(b"\r\n", id="no-size"),
        pytest.param(b" 1\r\nx\r\n", id="leading-space"),
        pytest.param(b"1 \r\nx\r\n", id="trailing-space"),
        pytest.param(b"+1\r\nx\r\n", id="plus"),
        pytest.param(b"-1\r\nx\r\n", id="minus"),
        pytest.param(b"0x1\r\nx\r\n", id="prefix"),
        pytest.param(b"1_0\r\n", id="underscore"),
        pytest.param(b"1\nx\r\n", id="size-line-ends-in-lf"),
        pytest.param(b"1\rx\n", id="size-line-ends-in-cr"),
        pytest.param(b"00000000000000001\r\nx\r\n", id="seventeen-digits"),
        pytest.param(b"4000000000000000\r\n", id="beyond-62-bits"),
        pytest.param(b"1;a\x00\r\nx\r\n", id="nul-in-extension"),
        pytest.param(b"1;a\rb\r\nx\r\n", id="cr-in-extension"),
        pytest.param(b"1;a\x7f\r\nx\r\n", id="delete-in-extension"),
        pytest.param(b"1,2\r\nx\r\n", id="comma"),
        pytest.param(b"1\r\nxy\r\n", id="data-longer-than-size"),
        pytest.param(b"1\r\nx\n\r\n", id="data-ends-in-lf"),
        pytest.param(b"1\r\nx\rY", id="data-ends-in-cr"),
        pytest.param(b"2\r\nx\r\n0\r\n\r\n", id="data-shorter-than-size"),
        pytest.param(b"0\r\nA: 1\nB: 2\r\n\r\n", id="trailer-line-ends-in-lf"),
        pytest.param(b"0\r\n\n", id="final-line-is-lf"),
        pytest.param(b"0\r\nA : 1\r\n\r\n", id="space-before-colon-in-trailer"),
        pytest.param(b"0\r\n A: 1\r\n\r\n", id="folded-trailer"),
        pytest.param(b"0\r\nnonsense\r\n\r\n", id="trailer-without-colon"),
    ],
)
@pytest.mark.parametrize("cut", [at_once, byte_by_byte])
def test_refused(raw: bytes, cut: Cut) -> None:
    with pytest.raises(ValueError, match="."):
        decode(cut(raw))


@pytest.mark.parametrize("size", [1022, 1023])
def test_size_line_is_bounded(size: int) -> None:
    line = b"1;" + b"a" * (size - 3) + b"\r"
    assert len(line) == size

    fits = outcome([line + b"\nx\r\n0\r\n\r\n"])

    assert (fits is not None) == (size + 1 <= 1024)


def test_endless_size_line_is_refused_without_its_end() -> None:
    with pytest.raises(ValueError, match="longer than 1024"):
        decode([b"1;" + b"a" * 1022])


def test_short_size_line_is_waited_for() -> None:
    decoder = ChunkedDecoder()

    assert decoder.feed(b"1;" + b"a" * 1000) == (b"", b"")
    assert not decoder.done


def test_extensions_of_all_chunks_together_are_bounded() -> None:
    chunk = b"1;" + b"a" * 511 + b"\r\nx\r\n"

    assert decode([chunk * 32]).body == b"x" * 32
    with pytest.raises(ValueError, match="extensions"):
        decode([chunk * 33])


def test_chunks_without_extensions_are_not_bounded() -> None:
    assert decode([b"1\r\nx\r\n" * 20_000]).body == b"x" * 20_000


@pytest.mark.parametrize("cut", [100, 4096])
def test_trailer_section_is_bounded(cut: int) -> None:
    section = b"0\r\n" + b"A: " + b"x" * 16_400

    with pytest.raises(ValueError, match="trailer section"):
        decode([section[i : i + cut] for i in range(0, len(section), cut)])


def test_what_follows_the_message_is_handed_back() -> None:
    assert decode([b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n"]).rest == b"GET / HTTP/1.1\r\n"


def test_body_is_given_before_the_message_is_complete() -> None:
    decoder = ChunkedDecoder()

    assert decoder.feed(b"5\r\nab") == (b"ab", b"")
    assert decoder.feed(b"cde") == (b"cde", b"")
    assert decoder.feed(b"\r\n") == (b"", b"")
    assert not decoder.done


@given(chunked_bodies(), st.binary(max_size=20), cuts)
def test_any_split_gives_the_same(message: tuple[bytes, bytes, bytes], following: bytes, places: list[int]) -> None:
    body, trailers, raw = message

    assert decode(split(raw + following, places)) == Decoded(body, trailers, following, True)


@given(chunked_bodies(), st.integers(0, 10_000), st.binary(max_size=3), cuts)
def test_any_split_of_damaged_bytes_gives_the_same(
    message: tuple[bytes, bytes, bytes], place: int, damage: bytes, places: list[int]
) -> None:
    raw = message[2]
    at = place % len(raw)
    damaged = raw[:at] + damage + raw[at + 1 :]
    whole = outcome([damaged])
    pieces = outcome(split(damaged, places))

    if whole is not None and whole.done:
        assert pieces == whole
    else:  # some splits show earlier than others that it cannot become a message
        assert pieces is None or not pieces.done


class Oracle:
    """httptools on the same bytes, as the body of a request."""

    def __init__(self) -> None:
        self.body = b""
        self.done = False
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True

    def accepts(self, raw: bytes) -> bool:
        """Whether `raw` is a complete body."""
        try:
            self._parser.feed_data(raw)
        except HttpParserError:
            return False
        return self.done


@given(chunked_bodies(), cuts)
def test_httptools_decodes_the_same(message: tuple[bytes, bytes, bytes], places: list[int]) -> None:
    oracle = Oracle()

    assert oracle.accepts(message[2])
    assert oracle.body == decode(split(message[2], places)).body


@given(chunked_bodies(), st.integers(0, 10_000), st.binary(max_size=3))
@example((b"", b"", b"0\r\n\r\n"), 0, b"00000000000000000000")
def test_httptools_and_we_never_decode_differently(
    message: tuple[bytes, bytes, bytes], place: int, damage: bytes
) -> None:
    raw = message[2]
    at = place % len(raw)
    damaged = raw[:at] + damage + raw[at + 1 :]
    ours = outcome([damaged])
    oracle = Oracle()
    accepted = oracle.accepts(damaged)

    if accepted and ours is not None and ours.done:
        assert oracle.body == ours.body


@given(st.lists(st.binary(min_size=1, max_size=50)), cuts)
def test_encoded_chunks_decode_again(chunks: list[bytes], places: list[int]) -> None:
    raw = b"".join(map(encode_chunk, chunks)) + LAST_CHUNK

    assert decode(split(raw, places)) == Decoded(b"".join(chunks), b"", b"", True)


def test_last_chunk_carries_the_trailers() -> None:
    assert encode_last_chunk(b"A: 1\r\n") == b"0\r\nA: 1\r\n\r\n"
    assert encode_last_chunk(b"") == LAST_CHUNK
