"""The response head: what the upstream answers, and how its body is framed."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from app.errors import UpstreamProtocolError
from app.protocol.fields import MEANINGS, FieldParser, Meaning, fault_in_lines, meaning_of, remember, split_list

__all__ = ["MAX_FIELDS", "Framing", "ResponseHead", "ResponseParser", "check_begun"]

MAX_FIELDS = 1000
"""Bound on the fields of an answer; they cost us an object each, and applications send a few dozen."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")


class Framing(Enum):
    """How the end of a response's body is found (RFC 9112 §6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class ResponseHead:
    """A checked response head; answers that came as the same bytes share one, and nobody changes it.

    Attributes:
        status: 100 to 999.
        reason: the reason phrase as it came.
        rewrites_line: the status line is not passed as it came.
        raw: the head as it came, with its final empty line; each field is one line, since obs-fold is refused.
        fields: list of (name, value) in wire order.
        dropped: indices of the fields that end here.
        content_length: bytes of body announced, None when none was.
        framing: how the body ends.
        keep_alive: the upstream keeps the connection after this answer.
        upgrade: the value of Upgrade, b"" without one.
        has_date, has_request_id: which of the fields that we may add are there.
        kept: what of it goes to the client, see `app.protocol.heads`; b"" until somebody asks.
    """

    __slots__ = (
        "chunked",
        "content_length",
        "dropped",
        "fields",
        "framing",
        "has_date",
        "has_request_id",
        "http10",
        "keep_alive",
        "kept",
        "nominated",
        "raw",
        "reason",
        "rewrites_line",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, http10: bool, raw: bytes) -> None:
        self.status = status
        self.reason = reason
        self.http10 = http10
        self.rewrites_line = http10
        self.raw = raw
        self.fields: list[tuple[bytes, bytes]] = []
        self.dropped: list[int] = []
        self.nominated: list[bytes] = []
        self.content_length: int | None = None
        self.chunked = False
        self.framing = Framing.NONE
        self.keep_alive = not http10
        self.upgrade = b""
        self.has_date = False
        self.has_request_id = False
        self.kept = b""


_KNOWN: dict[bytes, ResponseHead] = {}
"""Heads that came lately, none of them the answer to HEAD."""


class ResponseParser:
    """Turns the bytes of a head into a `ResponseHead`; one per upstream connection."""

    __slots__ = ("_parse_fields",)

    def __init__(self) -> None:
        self._parse_fields = FieldParser().parse

    def parse(self, raw: bytes, method: bytes) -> ResponseHead:
        """Checks `raw`, a whole head with its final empty line, the answer to a request of `method`.

        Raises UpstreamProtocolError for whatever is not a valid HTTP/1.x response head.
        """
        if method == b"HEAD":
            return self._read(raw, method)
        head = _KNOWN.get(raw)
        if head is None:
            head = self._read(raw, method)
            remember(_KNOWN, raw, head)
        return head

    def _read(self, raw: bytes, method: bytes) -> ResponseHead:
        eol = raw.find(b"\r\n")
        line = _STATUS_LINE.fullmatch(raw, 0, eol)
        if line is None:
            raise _bad_line(raw, eol)
        head = ResponseHead(int(line[2]), line[3] or b"", line[1] == b"0", raw)
        if line[3] is None:
            head.rewrites_line = True  # RFC 9112 §4: the space before an empty reason is not optional
        try:
            head.fields = self._parse_fields(raw[eol + 2 :])
        except ValueError as error:
            raise UpstreamProtocolError(f"invalid header section: {error}") from error
        if len(head.fields) > MAX_FIELDS:
            raise UpstreamProtocolError(f"{len(head.fields)} header fields, limit {MAX_FIELDS}")
        meanings = MEANINGS.get
        for index, (name, value) in enumerate(head.fields):
            meaning = meanings(name)
            if meaning is None:
                meaning = meaning_of(name)
            if meaning and (action := _ACTIONS.get(meaning)) is not None:
                action(head, index, value)
        if head.nominated:
            _apply_connection(head)
        head.framing = _framing(head, method)
        if head.framing is Framing.CLOSE:
            head.keep_alive = False
        return head


def check_begun(begun: bytes, start: int = 0) -> None:
    """Raises UpstreamProtocolError as soon as bytes that arrive cannot become a head; see `fault_in_lines`.

    Empty lines before a status line are a fault as well: RFC 9112 §2.2 has only servers skip them.
    """
    fault = fault_in_lines(begun, start)
    if fault:
        raise UpstreamProtocolError(f"{fault}: {begun[:60]!r}")
    if not b"HTTP/".startswith(begun[:5]):
        raise UpstreamProtocolError(f"not an HTTP answer: {begun[:60]!r}")
    eol = begun.find(b"\r\n")
    if eol >= 0 and _STATUS_LINE.fullmatch(begun, 0, eol) is None:
        raise _bad_line(begun, eol)


def _bad_line(raw: bytes, eol: int) -> UpstreamProtocolError:
    return UpstreamProtocolError(f"invalid status line {raw[: min(eol, 60)]!r}")


def _content_length(head: ResponseHead, index: int, value: bytes) -> None:
    digits = value.rstrip(b" \t")
    if not digits.isdigit() or len(digits) > 18:
        raise UpstreamProtocolError("Content-Length is not one number")
    head.content_length = int(digits)


def _transfer_encoding(head: ResponseHead, index: int, value: bytes) -> None:
    # We ask for nothing but chunked (no TE is sent), so nothing else can be meant for us.
    if head.chunked or value.rstrip(b" \t").lower() != b"chunked" or head.http10:
        raise UpstreamProtocolError("Transfer-Encoding is not a single chunked")
    head.chunked = True
    head.dropped.append(index)


def _connection(head: ResponseHead, index: int, value: bytes) -> None:
    head.dropped.append(index)
    # What nearly every server says and HTTP/1.1 means anyway is not worth taking apart.
    if value != b"keep-alive" or head.http10:
        head.nominated += split_list(value)


def _upgrade(head: ResponseHead, index: int, value: bytes) -> None:
    head.upgrade = b"%b, %b" % (head.upgrade, value) if head.upgrade else value
    # An offer to upgrade is for us; only a switch made (101) or demanded (426) is for the client.
    if head.status not in (101, 426):
        head.dropped.append(index)


def _ends_here(head: ResponseHead, index: int, value: bytes) -> None:
    head.dropped.append(index)


def _date(head: ResponseHead, index: int, value: bytes) -> None:
    head.has_date = True


def _request_id(head: ResponseHead, index: int, value: bytes) -> None:
    head.has_request_id = True


_ACTIONS: dict[Meaning, Callable[[ResponseHead, int, bytes], None]] = {
    Meaning.CONTENT_LENGTH: _content_length,
    Meaning.TRANSFER_ENCODING: _transfer_encoding,
    Meaning.CONNECTION: _connection,
    Meaning.UPGRADE: _upgrade,
    Meaning.HOP_BY_HOP: _ends_here,
    Meaning.DATE: _date,
    Meaning.REQUEST_ID: _request_id,
}
"""What each special field does to the head; the others pass as they are."""


def _apply_connection(head: ResponseHead) -> None:
    """Persistence (RFC 9112 §9.3) and the fields that Connection names (RFC 9110 §7.6.1)."""
    options = head.nominated
    if b"close" in options:
        head.keep_alive = False
    elif head.http10:
        head.keep_alive = b"keep-alive" in options
    for index, (name, _) in enumerate(head.fields):
        if name.lower() in options and index not in head.dropped:
            if meaning_of(name) not in (Meaning.CONTENT_LENGTH, Meaning.TRANSFER_ENCODING, Meaning.UPGRADE):
                head.dropped.append(index)


def _drop_length(head: ResponseHead) -> None:
    """RFC 9110 §8.6: neither a 1xx nor a 204 has a Content-Length."""
    head.dropped += [i for i, (name, _) in enumerate(head.fields) if meaning_of(name) is Meaning.CONTENT_LENGTH]


def _framing(head: ResponseHead, method: bytes) -> Framing:
    """RFC 9112 §6.3, rule by rule, for an answer to `method`."""
    if method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        if head.status < 200 or head.status == 204:
            _drop_length(head)
            # RFC 9112 §6.3: no body. One that comes all the same must not meet the next request.
            head.keep_alive = head.keep_alive and not head.content_length and not head.chunked
        return Framing.NONE
    if head.chunked:
        return Framing.CHUNKED
    if head.content_length is not None:
        return Framing.LENGTH if head.content_length else Framing.NONE
    return Framing.CLOSE
