"""What must hold for any bytes: only the documented errors, and one reading that an independent parser shares.

Each target takes bytes and returns whether any of them were accepted, so that a run can tell that it was not idle.
An AssertionError, or any exception that is not documented, is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from httptools import HttpParserError, HttpRequestParser, HttpResponseParser

from app.errors import RouterError, UpstreamProtocolError
from app.protocol.chunked import BrokenChunks, ChunkedDecoder, encode_chunk, encode_last_chunk
from app.protocol.fields import fault_in_lines
from app.protocol.forwarding import Forwarding
from app.protocol.heads import client_head, upstream_head
from app.protocol.request import RequestHead, RequestParser
from app.protocol.response import Framing, ResponseHead, ResponseParser, check_begun
from app.protocol.trailers import safe_trailers
from tests.fuzz.conversations import conversations
from tests.fuzz.lane import lane
from tests.fuzz.mutations import inputs
from tests.support.wire import parse_head

Target = Callable[[bytes], bool]

REFUSALS = {400, 405, 431, 505}
"""What a request's head may be refused with."""


@dataclass
class Message:
    """One message as httptools read it."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    target: bytes = b""
    body: bytes = b""
    is_complete: bool = False


class Oracle:
    """Collects the messages that httptools finds, as its callbacks are called."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def on_message_begin(self) -> None:
        self.messages.append(Message())

    def on_url(self, url: bytes) -> None:
        self.messages[-1].target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.messages[-1].fields.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.messages[-1].body += data

    def on_message_complete(self) -> None:
        self.messages[-1].is_complete = True


def requests(data: bytes) -> bool:
    """A client's bytes: what is sent upstream holds exactly the requests that we saw, each read as we read it."""
    parser = RequestParser(50)
    accepted = False
    while (end := data.find(b"\r\n\r\n")) >= 0:
        raw, data = data[: end + 4], data[end + 4 :]
        head = _request_head(parser, raw)
        if head is None:
            return accepted
        body = _request_body(head, data)
        if body is None:
            return accepted
        decoded, framed, data = body
        _check_sent_request(head, decoded, framed)
        _check_no_early_refusal(raw, fault_in_lines)
        accepted = True
    return accepted


def _check_no_early_refusal(raw: bytes, look: Callable[[bytes], object]) -> None:
    """What is a head when all of it is there is not refused before that, wherever a packet ends."""
    for at in range(0, len(raw), 1 + len(raw) // 4):
        assert not look(raw[:at]), "a good head was refused before its end"


def _request_head(parser: RequestParser, raw: bytes) -> RequestHead | None:
    try:
        return parser.parse(raw)
    except RouterError as error:
        assert error.status in REFUSALS, f"{error!r} is not a refusal of a head"
        return None


def _request_body(head: RequestHead, data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The body as the application shall see it, as it is sent on, and what follows; None when it is not complete."""
    if head.chunked:
        decoded = _decode(data)
        if decoded is None:
            return None
        body, trailers, rest = decoded
        return body, (encode_chunk(body) if body else b"") + encode_last_chunk(trailers), rest
    length = head.content_length or 0
    return None if len(data) < length else (data[:length], data[:length], data[length:])


def _decode(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Body, safe trailers and rest of a chunked stream; None when it is refused or not complete."""
    decoder = ChunkedDecoder()
    try:
        body, rest = decoder.feed(data)
        trailers = safe_trailers(decoder.trailers)
    except ValueError:
        return None
    return (body, trailers, rest) if decoder.done else None


def _check_sent_request(head: RequestHead, body: bytes, framed: bytes) -> None:
    added = Forwarding(b"192.0.2.1", b"http", 5004, 0).lines(head)
    sent = upstream_head(head, added, b"127.0.0.1:5005")
    strict = parse_head(sent)
    assert strict.start_line == head.method + b" " + head.target + b" HTTP/1.1"
    assert re.fullmatch(rb"[^\s/@?#\\]*", strict.value(b"Host") or b""), (
        "an authority that is more than a host and a port"
    )
    assert len(strict.values(b"Host")) == 1
    assert len(strict.values(b"Content-Length")) + len(strict.values(b"Transfer-Encoding")) <= 1
    assert strict.values(b"X-Forwarded-For") == [b"192.0.2.1"]
    assert not strict.values(b"Connection")
    behind_the_line = sent[sent.index(b"\r\n") :] + framed
    # llhttp knows some forty methods, so it reads the rest behind a line of ours first, and then the whole.
    message = _only_message(b"POST / HTTP/1.1" + behind_the_line)
    assert message.is_complete, "less was sent on than announced"
    assert message.body == body
    try:
        HttpRequestParser(oracle := Oracle()).feed_data(sent + framed)
    except HttpParserError:
        return
    assert oracle.messages[0].target == head.target


def _only_message(sent: bytes) -> Message:
    oracle = Oracle()
    HttpRequestParser(oracle).feed_data(sent)
    assert len(oracle.messages) == 1, "one request was sent on as several"
    return oracle.messages[0]


def chunks(data: bytes) -> bool:
    """A chunked body: the same in any split, the same for httptools, and the same when encoded and decoded again."""
    whole = _decode(data)
    assert whole == _decode_in_pieces(data), "another split gives another message"
    assert _before_fault(data, len(data)) == _before_fault(data, 3), "another split lets another part through"
    if whole is None:
        return False
    body, trailers, rest = whole
    again = (encode_chunk(body) if body else b"") + encode_last_chunk(trailers)
    assert _decode(again) == (body, trailers, b""), "what we encode is not what we decoded"
    oracle = Oracle()
    try:
        HttpRequestParser(oracle).feed_data(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + data[: len(data) - len(rest)]
        )
    except HttpParserError:
        return True  # llhttp is stricter about extensions, which end here anyway
    assert oracle.messages[0].is_complete
    assert oracle.messages[0].body == body
    return True


def _decode_in_pieces(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    decoder = ChunkedDecoder()
    body = b""
    try:
        for position in range(0, len(data), 3):
            more, rest = decoder.feed(data[position : position + 3])
            body += more
            if decoder.done:
                return body, safe_trailers(decoder.trailers), rest + data[position + 3 :]
    except ValueError:
        pass
    return None


def _before_fault(data: bytes, size: int) -> tuple[bytes, bool]:
    """What is let through of a chunked stream that comes in pieces of `size`, and whether it is found to be broken."""
    decoder = ChunkedDecoder()
    body = b""
    try:
        for position in range(0, len(data), size or 1):
            if not decoder.done:
                body += decoder.feed(data[position : position + size])[0]
        safe_trailers(decoder.trailers)
    except BrokenChunks as error:
        return body + error.body, True
    except ValueError:
        return body, True
    return body, False


def responses(data: bytes) -> bool:
    """A version's bytes: its answer is a bad one, or its body ends where httptools says that it ends."""
    accepted = False
    for method in (b"GET", b"HEAD"):
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        try:
            head = ResponseParser().parse(data[:end], method)
        except UpstreamProtocolError:
            continue
        _check_no_early_refusal(data[:end], check_begun)
        _check_passed_answer(head, data[end:], method)
        accepted = True
    return accepted


def _check_passed_answer(head: ResponseHead, data: bytes, method: bytes) -> None:
    sent = client_head(head, b"")
    strict = parse_head(sent)
    assert strict.start_line == b"HTTP/1.1 %d %b" % (head.status, head.reason)
    assert not strict.values(b"Transfer-Encoding")
    assert len(strict.values(b"Content-Length")) <= 1
    assert not strict.values(b"Connection")
    if head.framing is Framing.CHUNKED:
        body = _decode(data)
        if body is not None and method == b"GET":
            _check_body(head, b"Transfer-Encoding: chunked\r\n", data, body[0])
    elif head.framing is Framing.LENGTH and head.content_length is not None and len(data) >= head.content_length:
        _check_body(head, b"", data, data[: head.content_length])


def _check_body(head: ResponseHead, framing: bytes, data: bytes, body: bytes) -> None:
    """The first answer that httptools finds in what the client would get has this body."""
    oracle = Oracle()
    try:
        HttpResponseParser(oracle).feed_data(client_head(head, framing) + data)
    except HttpParserError:
        pass  # what follows the first answer, or its chunk extensions, are not to its taste
    if oracle.messages and oracle.messages[0].is_complete:
        assert oracle.messages[0].body == body


TARGETS: dict[str, Target] = {"requests": requests, "chunks": chunks, "responses": responses, "lane": lane}


def stream(name: str, random: Random) -> Iterator[bytes]:
    """An endless stream of inputs for a target."""
    return conversations(random) if name == "lane" else inputs(name, random)
