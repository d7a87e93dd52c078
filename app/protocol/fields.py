"""Field lines: splitting a header section into fields, and which names mean something to a proxy."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TypeVar

from httptools import HttpParserError, HttpResponseParser

__all__ = [
    "MEANINGS",
    "Field",
    "FieldParser",
    "Meaning",
    "cookie_taken_off",
    "fault_in_lines",
    "meaning_of",
    "parted",
    "remember",
    "split_list",
    "without_cookie",
]

Field = tuple[bytes, bytes]
"""A field as it came: (name, value without leading white space), in wire order."""

_PREFIX = b"HTTP/1.1 304 \r\n"
"""A start line that never has a body (RFC 9112 §6.3), so that the tokenizer is ready again after each block."""


_NO_LINE = re.compile(rb"(?<!\r)(?P<LF>\n)|(?P<CR>\r)(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no line of a head or a trailer section may hold (RFC 9112 §2.2, RFC 9110 §5.5)."""


def fault_in_lines(begun: bytes, start: int = 0) -> str:
    """What keeps lines that are still arriving from ever becoming valid ones, in words; "" while nothing does.

    So that nobody waits for the rest. What came before `start` was looked at already.
    """
    found = _NO_LINE.search(begun, start)
    if found is None:
        return ""
    return f"a line has a bare {found.lastgroup}" if found.lastgroup else "a line has a control character"


REMEMBERED_HEADS, REMEMBERED_BYTES = 128, 1024
"""How many heads of up to how many bytes are remembered of each kind."""

_Head = TypeVar("_Head")


def remember(
    known: dict[bytes, _Head], raw: bytes, head: _Head, most: int = REMEMBERED_HEADS, longest: int = REMEMBERED_BYTES
) -> None:
    """Notes what `raw` was found to say. Clients and versions repeat themselves: same bytes, same meaning.

    Never more than `most` of up to `longest` bytes are known: anybody can invent further ones.
    """
    if len(raw) <= longest:
        if len(known) == most:
            known.clear()
        known[raw] = head


class FieldParser:
    """Tokenizes header and trailer sections; one per connection, because it keeps llhttp's state."""

    __slots__ = ("_fields", "_llhttp")

    def __init__(self) -> None:
        self._fields: list[Field] = []
        self._llhttp = self._fresh()

    def _fresh(self) -> HttpResponseParser:
        llhttp = HttpResponseParser(self)
        # Whether the connection lasts is decided by us; without this a `Connection: close` ends the parser.
        llhttp.set_dangerous_leniencies(lenient_keep_alive=True, lenient_data_after_close=True)
        return llhttp

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each field."""
        self._fields.append((name, value))

    def parse(self, block: bytes) -> list[Field]:
        """The fields of `block`, which ends with an empty line.

        Raises ValueError for what RFC 9112 §5 forbids: white space before the colon, obs-fold, a bare CR or
        LF, NUL and other controls in a value, a name that is no token, a Content-Length that is not one
        number, and a Content-Length beside a Transfer-Encoding.
        """
        try:
            return self._read(block)
        except HttpParserError:
            # llhttp keeps something of sections with `Connection: close`: their lengths add up until that is an error
            # (httptools 0.9.0). A fresh one has nothing to go by but the block.
            self._llhttp = self._fresh()
        try:
            return self._read(block)
        except HttpParserError as error:
            self._llhttp = self._fresh()
            raise ValueError(str(error)) from error

    def _read(self, block: bytes) -> list[Field]:
        fields = self._fields = []
        self._llhttp.feed_data(_PREFIX + block)
        return fields


class Meaning(IntEnum):
    """What a field name means to a proxy."""

    PLAIN = 0
    HOST = 1
    CONTENT_LENGTH = 2
    TRANSFER_ENCODING = 3
    CONNECTION = 4
    UPGRADE = 6
    HOP_BY_HOP = 7
    REQUEST_ID = 8
    FORWARDING = 9
    FORWARDING_ALIAS = 10
    ALIAS = 11
    DATE = 12
    VIA = 13
    PREVIEW = 14


_MEANINGS: dict[bytes, Meaning] = {
    b"host": Meaning.HOST,
    b"content-length": Meaning.CONTENT_LENGTH,
    b"transfer-encoding": Meaning.TRANSFER_ENCODING,
    b"connection": Meaning.CONNECTION,
    b"upgrade": Meaning.UPGRADE,
    # RFC 9110 §7.6.1 and §10.1.4; Proxy-Connection is the old mistake that RFC 9112 §C.2.2 describes; HTTP2-Settings
    # goes with an upgrade that is never made (RFC 9113 §3.1).
    b"keep-alive": Meaning.HOP_BY_HOP,
    b"proxy-connection": Meaning.HOP_BY_HOP,
    b"te": Meaning.HOP_BY_HOP,
    b"http2-settings": Meaning.HOP_BY_HOP,
    b"x-request-id": Meaning.REQUEST_ID,
    b"date": Meaning.DATE,
    b"via": Meaning.VIA,
    b"x-router-preview": Meaning.PREVIEW,
}

_FORWARDING = re.compile(
    rb"(x-)?forwarded(-.+)?|x-original-.+|x-rewrite-url|x-script-name|x-http-host-override"
    rb"|(x-)?real-ip|(x-|true-|x-cluster-|fastly-|fly-|proxy-|wl-proxy-|x-azure-)?client-?ip|x-azure-socketip"
    rb"|x-(remote|originating)-(ip|addr)|x-proxyuser-ip|x-appengine-user-ip|x-envoy-external-address"
    rb"|(cf|do)-connecting-ip(v6)?|cf-pseudo-ipv4|cf-visitor|ali-cdn-real-ip|cloudfront-(viewer-address|forwarded-proto)"
    rb"|front-end-https|x-(url-|client-)?scheme|x-client-proto|x-arr-ssl|wl-proxy-ssl"
)
"""Names in lower case by which frameworks, libraries and servers are told of the client's address and scheme, and of
the host and the path that it asked for; docs/reference/http.md says who believes which."""

_NOT_PLAIN = re.compile(rb"[^A-Za-z0-9-]")

MEANINGS: dict[bytes, Meaning] = {}
"""Meanings by name as it was spelled, remembered by `meaning_of`; loops look here before they call it."""

_REMEMBERED_MAX = 2048
"""Applications and clients use a few hundred names in a few spellings; a flood of invented ones is not kept."""


def meaning_of(name: bytes) -> Meaning:
    """What `name`, in any spelling, means to a proxy. One dict look-up for a spelling seen before."""
    meaning = MEANINGS.get(name)
    if meaning is None:
        meaning = _classify(name.lower())
        if len(MEANINGS) < _REMEMBERED_MAX:
            MEANINGS[name] = meaning
    return meaning


def _classify(lower: bytes) -> Meaning:
    meaning = _MEANINGS.get(lower)
    if meaning is not None:
        return meaning
    # CGI and WSGI turn `_`, and some servers every odd character, into what `-` becomes, so such a name may
    # reach the application as a field that only the proxy may set.
    plain = _NOT_PLAIN.sub(b"-", lower)
    if _FORWARDING.fullmatch(plain):
        return Meaning.FORWARDING if plain == lower else Meaning.FORWARDING_ALIAS
    if b"_" in lower or (plain != lower and plain == b"x-request-id"):
        return Meaning.ALIAS
    return Meaning.PLAIN


def split_list(value: bytes) -> list[bytes]:
    """The members of a comma-separated list (RFC 9110 §5.6.1), lower-cased, empty ones dropped."""
    return [member for part in value.split(b",") if (member := part.strip(b" \t").lower())]


def parted(text: bytes, separator: bytes, name: bytes) -> tuple[bytes, bytes]:
    """The members of a list of pairs, such as cookies, without those of a name, and the first value of these."""
    others, found = [], []
    for member in text.split(separator):
        own_name, _, value = member.strip(b" \t").partition(b"=")
        if own_name == name:
            found.append(value)
        else:
            others.append(member)
    return separator.join(others), next(filter(None, found), b"")


def cookie_taken_off(line: bytes, name: bytes) -> tuple[bytes, bytes]:
    """The line of a Cookie field without the cookies of a name, b"" where it has no other, and the first value."""
    field, _, value = line.partition(b":")
    others, found = parted(value, b";", name)
    others = others.strip(b" \t")
    return field + b": " + others if others else b"", found


def without_cookie(raw: bytes, name: bytes) -> tuple[bytes, bytes]:
    """A request's head without the cookies of a name, and the value of the first one."""
    kept, found = [], b""
    for line in raw[:-4].split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.lower() == b"cookie" and name in value:
            line, ours = cookie_taken_off(line, name)
            found = found or ours
            if not line:
                continue
        kept.append(line)
    return b"\r\n".join(kept) + b"\r\n\r\n", found
