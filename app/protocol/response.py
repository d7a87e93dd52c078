"""The response head: what the upstream answers, and how its body is framed."""

from __future__ import annotations

import re
from enum import Enum

from app.errors import UpstreamProtocolError
from app.protocol.fields import FieldParser, Meaning, meaning_of, split_list

__all__ = ["Framing", "ResponseHead", "ResponseParser"]

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Framing(Enum):
    """How the end of a response's body is found (RFC 9112 §6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class ResponseHead:
    """A checked response head.

    Attributes:
        status: 100 to 999.
        reason: the reason phrase as it came.
        raw: the head with its final empty line.
        fields: list of (name, value) in wire order.
        dropped: indices of the fields that end here.
        content_length: bytes of body announced, None when none was.
        framing: how the body ends.
        keep_alive: the upstream keeps the connection after this answer.
        upgrade: the value of Upgrade, b"" without one.
        has_date, has_request_id: which of the fields that we may add are there.
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
        "nominated",
        "raw",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, http10: bool, raw: bytes) -> None:
        self.status = status
        self.reason = reason
        self.http10 = http10
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

    @property
    def lines(self) -> list[bytes]:
        """The raw field lines without their CRLF."""
        return self.raw.split(b"\r\n")[1:-2]


class ResponseParser:
    """Turns the bytes of a head into a `ResponseHead`; one per upstream connection."""

    __slots__ = ("_parse_fields",)

    def __init__(self) -> None:
        self._parse_fields = FieldParser().parse

    def parse(self, raw: bytes, method: bytes) -> ResponseHead:
        """Checks `raw`, a whole head with its final empty line, the answer to a request of `method`.

        Raises UpstreamProtocolError for whatever is not a valid HTTP/1.x response head.
        """
        eol = raw.find(b"\r\n")
        line = _STATUS_LINE.fullmatch(raw, 0, eol)
        if line is None:
            raise UpstreamProtocolError(f"invalid status line {raw[: min(eol, 60)]!r}")
        head = ResponseHead(int(line[2]), line[3] or b"", line[1] == b"0", raw)
        try:
            head.fields = self._parse_fields(raw[eol + 2 :])
        except ValueError as error:
            raise UpstreamProtocolError(f"invalid header section: {error}") from error
        for index, (name, value) in enumerate(head.fields):
            meaning = meaning_of(name)
            if meaning:
                _read_field(head, meaning, index, value)
        if head.nominated:
            _apply_connection(head)
        head.framing = _framing(head, method)
        if head.framing is Framing.CLOSE:
            head.keep_alive = False
        return head


def _read_field(head: ResponseHead, meaning: Meaning, index: int, value: bytes) -> None:
    match meaning:
        case Meaning.CONTENT_LENGTH:
            if head.content_length is not None or not _LENGTH.fullmatch(value.rstrip(b" \t")):
                raise UpstreamProtocolError("Content-Length is not one number")
            head.content_length = int(value)
        case Meaning.TRANSFER_ENCODING:
            # We ask for nothing but chunked (no TE is sent), so nothing else can be meant for us.
            if head.chunked or value.rstrip(b" \t").lower() != b"chunked" or head.http10:
                raise UpstreamProtocolError("Transfer-Encoding is not a single chunked")
            head.chunked = True
            head.dropped.append(index)
        case Meaning.CONNECTION:
            head.nominated += split_list(value)
            head.dropped.append(index)
        case Meaning.UPGRADE:
            head.upgrade = value
            # An offer to upgrade is for us; only a switch made (101) or demanded (426) is for the client.
            if head.status not in (101, 426):
                head.dropped.append(index)
        case Meaning.HOP_BY_HOP:
            head.dropped.append(index)
        case Meaning.DATE:
            head.has_date = True
        case Meaning.REQUEST_ID:
            head.has_request_id = True
        case _:
            pass


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


def _framing(head: ResponseHead, method: bytes) -> Framing:
    """RFC 9112 §6.3, rule by rule, for an answer to `method`."""
    if method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        return Framing.NONE
    if head.chunked:
        if head.content_length is not None:
            raise UpstreamProtocolError("Content-Length beside Transfer-Encoding")
        return Framing.CHUNKED
    if head.content_length is not None:
        return Framing.LENGTH if head.content_length else Framing.NONE
    return Framing.CLOSE
