"""The request head: what a client asks for, checked so that nobody behind us can read it in another way."""

from __future__ import annotations

import re
from collections.abc import Callable

from app.errors import FieldsTooLarge, MalformedRequest, MethodNotAllowed, VersionNotSupported
from app.protocol.fields import MEANINGS, FieldParser, Meaning, meaning_of, remember, split_list
from app.protocol.retry import IDEMPOTENT
from app.protocol.upgrade import known_of

__all__ = ["RequestHead", "RequestParser"]

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+")
"""Anything visible, and bytes that are not ASCII: applications have always had to cope with raw UTF-8."""

_ABSOLUTE = re.compile(rb"([Hh][Tt][Tt][Pp][Ss]?)://([^/?#]*)")
_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.vV]+\])(?::([0-9]*))?")
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

_NEVER_NOMINATED = frozenset(
    (Meaning.HOST, Meaning.CONTENT_LENGTH, Meaning.TRANSFER_ENCODING, Meaning.CONNECTION, Meaning.REQUEST_ID)
)
"""`Connection` must not name these (RFC 9110 §7.6.1); doing so would take the framing or the routing away."""


class RequestHead:
    """A checked request head.

    Requests that came as the same bytes share one, unless it has forwarding fields: nobody changes any other.

    Attributes:
        method, target: as they came, byte for byte.
        raw: the head as it came, with its final empty line; each field is one line, since obs-fold is refused.
        http10: the client speaks HTTP/1.0.
        fields: list of (name, value) in wire order.
        dropped: indices of the fields that end here.
        forwarding: indices of the client's own forwarding fields, which trust decides about.
        host: the value of Host; without one (HTTP/1.0 only) the authority of an absolute-form target, else b"".
        hosts: how many Host fields came.
        content_length: bytes of body announced, None when none was.
        chunked: the body is chunked.
        keep_alive: the client wants to use the connection again (RFC 9112 §9.3).
        reframed: the framing field in our own spelling, with its CRLF, when the client's is not passed as it came.
        upgrade: the known protocols of Upgrade when `Connection` names it, else b"".
        request_id: the client's X-Request-ID when it is one we pass on, else b"".
        asks_for_preview: there is an X-Router-Preview field.
        is_simple: as most are: HTTP/1.1, idempotent, without a body, an upgrade or that field.
        kept: what of it goes upstream, see `app.protocol.heads`; b"" until somebody asks.
    """

    __slots__ = (
        "asks_for_preview",
        "chunked",
        "content_length",
        "dropped",
        "fields",
        "forwarding",
        "host",
        "hosts",
        "http10",
        "is_simple",
        "keep_alive",
        "kept",
        "method",
        "nominated",
        "raw",
        "reframed",
        "request_id",
        "request_id_at",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, http10: bool, raw: bytes) -> None:
        self.method = method
        self.target = target
        self.http10 = http10
        self.raw = raw
        self.fields: list[tuple[bytes, bytes]] = []
        self.dropped: list[int] = []
        self.forwarding: list[int] = []
        self.nominated: list[bytes] = []
        self.host = b""
        self.hosts = 0
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = not http10
        self.reframed = b""
        self.upgrade = b""
        self.request_id = b""
        self.request_id_at = -1
        self.asks_for_preview = False
        self.is_simple = False
        self.kept = b""

    @property
    def has_body(self) -> bool:
        """RFC 9112 §6: a request has a body when it announces one, whatever its method."""
        return self.chunked or bool(self.content_length)

    @property
    def may_lend_fields(self) -> bool:
        """Whether what was found in its fields holds for any other simple request with the same ones."""
        if self.forwarding or self.request_id or self.content_length is not None:
            return False
        return self.is_simple and self.target.startswith(b"/")

    def has_fields_of(self, other: RequestHead) -> None:
        """Takes over what was found in the same section of one that may lend its fields."""
        self.fields = other.fields
        self.dropped = other.dropped
        self.host = other.host
        self.hosts = other.hosts
        self.keep_alive = other.keep_alive
        self.is_simple = self.method in IDEMPOTENT


# --- what each special field does to the head: one function a meaning ------------------------------------


def _host(head: RequestHead, index: int, value: bytes) -> None:
    head.hosts += 1
    head.host = value.rstrip(b" \t")


def _content_length(head: RequestHead, index: int, value: bytes) -> None:
    # A repeated one, a list, a sign: all are ways to make two parsers disagree (RFC 9112 §6.3, §11.2).
    digits = value.rstrip(b" \t")
    if not digits.isdigit() or len(digits) > 18:
        raise MalformedRequest("Content-Length is not one number")
    head.content_length = int(digits)
    canonical = b"%d" % head.content_length
    if value != canonical:
        head.dropped.append(index)
        head.reframed = b"Content-Length: %b\r\n" % canonical


def _transfer_encoding(head: RequestHead, index: int, value: bytes) -> None:
    # RFC 9112 §6.1: nothing but one final `chunked`, and never from HTTP/1.0.
    if head.chunked or head.http10 or value.rstrip(b" \t").lower() != b"chunked":
        raise MalformedRequest("Transfer-Encoding is not a single chunked")
    head.chunked = True
    head.dropped.append(index)
    head.reframed = b"Transfer-Encoding: chunked\r\n"


def _connection(head: RequestHead, index: int, value: bytes) -> None:
    head.dropped.append(index)
    # What nearly every client says and HTTP/1.1 means anyway is not worth taking apart.
    if value != b"keep-alive" or head.http10:
        head.nominated += split_list(value)


def _upgrade(head: RequestHead, index: int, value: bytes) -> None:
    head.upgrade = b"%b, %b" % (head.upgrade, value) if head.upgrade else value
    head.dropped.append(index)


def _ends_here(head: RequestHead, index: int, value: bytes) -> None:
    head.dropped.append(index)


def _request_id(head: RequestHead, index: int, value: bytes) -> None:
    # One that is repeated ties to nothing, so it is replaced by one of ours like any other that is unusable.
    repeated = any(name.lower() == b"x-request-id" for name, _ in head.fields[:index])
    if not repeated and _REQUEST_ID.fullmatch(value):
        head.request_id = value
        head.request_id_at = index
        return
    head.dropped.append(index)
    if head.request_id:
        head.request_id = b""
        head.dropped.append(head.request_id_at)


def _forwarding(head: RequestHead, index: int, value: bytes) -> None:
    head.forwarding.append(index)


def _preview(head: RequestHead, index: int, value: bytes) -> None:
    head.asks_for_preview = True
    head.dropped.append(index)


def _nothing(head: RequestHead, index: int, value: bytes) -> None:
    """It passes as it is."""


_ACTIONS: dict[Meaning, Callable[[RequestHead, int, bytes], None]] = {
    Meaning.HOST: _host,
    Meaning.CONTENT_LENGTH: _content_length,
    Meaning.TRANSFER_ENCODING: _transfer_encoding,
    Meaning.CONNECTION: _connection,
    Meaning.UPGRADE: _upgrade,
    Meaning.HOP_BY_HOP: _ends_here,
    Meaning.REQUEST_ID: _request_id,
    Meaning.FORWARDING: _forwarding,
    Meaning.FORWARDING_ALIAS: _ends_here,
    Meaning.ALIAS: _ends_here,
    Meaning.DATE: _nothing,
    Meaning.VIA: _nothing,
    Meaning.PREVIEW: _preview,
}

_PASSING_ALIASES = {Meaning.ALIAS: _nothing, Meaning.FORWARDING_ALIAS: _forwarding}


def _origin(scheme: bytes, authority: bytes) -> tuple[bytes, bytes]:
    """The host and port that an authority stands for (RFC 9110 §4.2.3); the host is b"" when it is no valid one.

    Case makes no difference, nor does the scheme's own port, or an empty one, in place of none. What would have to be
    decoded, looked up or understood to be the same is not: %61 for a, a dot at the end, an IPv6 address written anew.
    """
    match = _HOST.fullmatch(authority)
    return (match[1].lower(), match[2] or _DEFAULT_PORTS[scheme]) if match else (b"", b"")


class RequestParser:
    """Turns the bytes of a head into a `RequestHead`; one for all connections of a worker.

    Args:
        max_fields: more fields than this are refused with 431.
        allow_trace: TRACE is forwarded instead of refused.
        pass_aliases: names with `_` are passed on; those of forwarding fields only where a proxy is trusted.
        upgrades: the protocols that may be upgraded to.
    """

    __slots__ = (
        "_actions",
        "_allow_trace",
        "_heads",
        "_host",
        "_max_fields",
        "_parse_fields",
        "_sections",
        "_upgrades",
    )

    def __init__(
        self,
        max_fields: int,
        allow_trace: bool = False,
        pass_aliases: bool = False,
        upgrades: tuple[str, ...] = ("websocket",),
    ) -> None:
        self._parse_fields = FieldParser().parse
        self._max_fields = max_fields
        self._allow_trace = allow_trace
        self._actions = _ACTIONS | _PASSING_ALIASES if pass_aliases else _ACTIONS
        self._upgrades = upgrades
        self._host = b""
        self._heads: dict[bytes, RequestHead] = {}  # that came lately, and by their fields only
        self._sections: dict[bytes, RequestHead] = {}

    def parse(self, raw: bytes) -> RequestHead:
        """Checks `raw`, a whole head with its final empty line.

        Raises MalformedRequest (400), MethodNotAllowed (405), FieldsTooLarge (431), VersionNotSupported (505).
        """
        known = self._heads.get(raw)
        if known is not None:
            return known
        eol = raw.find(b"\r\n")
        head = self._request_line(raw[:eol], raw)
        section = raw[eol + 2 :]
        like = self._sections.get(section)
        if like is not None and not head.http10 and head.target.startswith(b"/"):
            head.has_fields_of(like)
        else:
            self._read_section(head, section)
            if head.may_lend_fields:
                remember(self._sections, section, head)
        if not head.forwarding:
            remember(self._heads, raw, head)
        return head

    def _read_section(self, head: RequestHead, section: bytes) -> None:
        try:
            head.fields = self._parse_fields(section)
        except ValueError as error:
            raise MalformedRequest(f"invalid header section: {error}") from error
        if len(head.fields) > self._max_fields:
            raise FieldsTooLarge(f"{len(head.fields)} header fields, limit {self._max_fields}")
        known, actions = MEANINGS.get, self._actions
        for index, (name, value) in enumerate(head.fields):
            meaning = known(name)
            if meaning is None:
                meaning = meaning_of(name)
            if meaning:
                actions[meaning](head, index, value)
        self._check_together(head)

    def check_line(self, line: bytes) -> None:
        """Checks a request line before the rest of its head is here. Raises what `parse` raises."""
        self._request_line(line, b"")

    def _request_line(self, line: bytes, raw: bytes) -> RequestHead:
        # RFC 9112 §3: exactly two single spaces; §3 also allows to be lenient, which is how requests are smuggled.
        parts = line.split(b" ")
        if len(parts) != 3:
            raise MalformedRequest("request line is not `method target version`")
        method, target, version = parts
        if version != b"HTTP/1.1" and version != b"HTTP/1.0":
            if _VERSION.fullmatch(version):
                raise VersionNotSupported(f"{version.decode()} is not served")
            raise MalformedRequest("invalid HTTP version")
        if not method.isalpha() and not _METHOD.fullmatch(method):
            raise MalformedRequest("method is not a token")
        if not _TARGET.fullmatch(target):
            raise MalformedRequest("request target has a control character or is empty")
        if method == b"CONNECT" or (method == b"TRACE" and not self._allow_trace):
            raise MethodNotAllowed(f"{method.decode()} is not served")
        return RequestHead(method, target, version == b"HTTP/1.0", raw)

    def _check_together(self, head: RequestHead) -> None:
        """The rules that need more than one field."""
        # RFC 9112 §3.2: one valid Host, which HTTP/1.0 may leave out.
        if head.hosts != 1 and not (head.http10 and not head.hosts):
            raise MalformedRequest("Host is missing or repeated")
        if head.host != self._host:  # the last one that was looked at; most clients of a router name the same
            if not _HOST.fullmatch(head.host):
                raise MalformedRequest("Host is not a valid host")
            self._host = head.host
        if not head.target.startswith(b"/"):
            self._check_target_form(head)
        if head.nominated:
            self._apply_connection(head)
        else:
            head.upgrade = b""
        is_more = head.has_body or head.upgrade or head.asks_for_preview
        head.is_simple = not (is_more or head.http10) and head.method in IDEMPOTENT

    def _check_target_form(self, head: RequestHead) -> None:
        # RFC 9112 §3.2: origin-form begins with a slash; `*` is for OPTIONS alone; the rest is absolute-form.
        if head.target == b"*" and head.method == b"OPTIONS":
            return
        absolute = _ABSOLUTE.match(head.target)
        if absolute is None:
            raise MalformedRequest("request target has no valid form")
        # §3.2.2 has a proxy replace Host by the target's authority. We pass both on as they are, so a Host that
        # names another one is refused instead: nobody behind us has to choose between the two.
        scheme, authority = absolute.groups()
        origin = _origin(scheme.lower(), authority)
        if not origin[0]:
            raise MalformedRequest("the request target names no valid host")
        if not head.hosts:
            head.host = authority
        elif origin != _origin(scheme.lower(), head.host):
            raise MalformedRequest("Host differs from the authority of the request target")

    def _apply_connection(self, head: RequestHead) -> None:
        """Persistence (RFC 9112 §9.3), the fields that Connection names (RFC 9110 §7.6.1), and Upgrade."""
        options = head.nominated
        if b"close" in options:
            head.keep_alive = False
        elif head.http10:
            head.keep_alive = b"keep-alive" in options
        if b"upgrade" not in options or head.http10:
            head.upgrade = b""
        elif head.upgrade:
            # RFC 9110 §7.8: an intermediary may ignore it. Behind a 101 nobody here reads what is said, so only what
            # is known to be no HTTP may follow one.
            head.upgrade = known_of(head.upgrade, self._upgrades)
        for index, (name, _) in enumerate(head.fields):
            if name.lower() in options and meaning_of(name) not in _NEVER_NOMINATED and index not in head.dropped:
                head.dropped.append(index)
        head.forwarding = [index for index in head.forwarding if index not in head.dropped]
