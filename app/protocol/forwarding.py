"""The fields that tell the application who asks and how, and what trusted proxies in front of us say of that."""

from __future__ import annotations

import re

from app.protocol.fields import Meaning, meaning_of
from app.protocol.request import RequestHead

__all__ = ["Forwarding"]

_HTTP, _HTTPS = b"http", b"https"

_SCHEME_PORTS = {_HTTP: b"80", _HTTPS: b"443"}

_SCHEME_FIELDS = (
    *(b"x-forwarded-proto", b"forwarded", b"x-forwarded-protocol", b"x-forwarded-ssl", b"x-forwarded-scheme"),
    *(b"x-url-scheme", b"x-scheme", b"front-end-https", b"x-client-scheme", b"x-client-proto"),
    b"cloudfront-forwarded-proto",
)
"""The ways to say the scheme, the strongest first: the first that names one decides, whatever the others say."""

_SCHEME_NAMES = frozenset(_SCHEME_FIELDS)

_SCHEME_WORDS = {
    **dict.fromkeys((b"https", b"wss", b"ssl", b"on", b"1", b"true", b"yes"), _HTTPS),
    **dict.fromkeys((b"http", b"ws", b"off", b"0", b"false", b"no"), _HTTP),
}

_GUNICORN_WORDS = {b"x-forwarded-protocol": b"ssl", b"x-forwarded-ssl": b"on"}
"""gunicorn takes exactly this word for https and any other for http (`secure_scheme_headers`), and answers 400 when one
of these fields and X-Forwarded-Proto come to different schemes."""

_PASSED_ON = frozenset({Meaning.FORWARDING, Meaning.FORWARDING_ALIAS, Meaning.VIA})
"""Fields of these kinds are written by who passes a request on."""

_COMMA, _COLON = b",:"
"""As numbers: to look for bytes in bytes takes Python much longer, as it tries them as a number first."""

_ELEMENT = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PAIR = re.compile(rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)')


class Forwarding:
    """The forwarding fields of one client connection; remembers the last block, which rarely changes on it.

    Args:
        peer: the address at the other end of the connection, as text.
        scheme: b"http" or b"https".
        port: the router's own port, for a Host without one.
        hops: how many proxies in front of us are trusted; 0 replaces whatever the client claims.
    """

    __slots__ = ("_block", "_hops", "_host", "_peer", "_port", "_scheme")

    def __init__(self, peer: bytes, scheme: bytes, port: int, hops: int) -> None:
        self._peer = peer
        self._scheme = scheme
        self._port = b"%d" % port
        self._hops = hops
        self._host: bytes | None = None
        self._block = b""

    def lines(self, head: RequestHead) -> bytes:
        """The lines to add to `head`, each with its CRLF. Marks those of the client's own that must not pass."""
        if self._hops and head.forwarding:
            return self._trusted(head)
        if head.forwarding:
            head.dropped += head.forwarding
            head.forwarding = []  # a request that is sent again is asked for its lines again
        if head.host != self._host:
            self._host = head.host
            self._block = (
                b"X-Forwarded-For: %b\r\nX-Real-IP: %b\r\n"
                b"X-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Port: %b\r\n"
                % (self._peer, self._peer, self._scheme, head.host, _port_of(head.host) or self._port)
            )
        return self._block

    def client_address(self, head: RequestHead) -> str:
        """The right-most address that no trusted proxy vouches for: the client, as far as it can be known."""
        if not self._hops or not head.forwarding:
            return self._peer.decode("latin-1")
        return _bare(self._client(self._said(head))).decode("latin-1")

    def is_relayed(self, head: RequestHead) -> bool:
        """Whether a proxy says that it has passed the request on, and none is trusted: the peer is not who asks.

        A proxy that says nothing cannot be told from a client (RFC 9110 §7.6.3 wants a Via of it).
        """
        return not self._hops and any(meaning_of(name) in _PASSED_ON for name, _ in head.fields)

    def is_secure(self, head: RequestHead) -> bool:
        """Whether the client came over https, as far as those that are trusted say."""
        said = self._said(head) if self._hops and head.forwarding else {}
        return (self._said_scheme(said) or self._scheme) == _HTTPS

    # --- what trusted proxies say -------------------------------------------------------------------------

    def _trusted(self, head: RequestHead) -> bytes:
        """A trusted proxy speaks: what it says stays, its address joins the list, what it left out is filled in.

        The client's address and scheme go out in one form each, in which no server can read two things.
        """
        said = self._said(head)
        client = self._client(said)
        address = _bare(client)
        said_scheme = self._said_scheme(said)
        scheme = said_scheme or self._scheme
        left_out = self._otherwise(said, scheme)
        left_out.add(b"x-forwarded-for")
        chain = said.get(b"x-forwarded-for") or (b"" if client is self._peer else client)
        added = (
            b"X-Forwarded-For: %b, %b\r\n" % (chain, self._peer) if chain else b"X-Forwarded-For: %b\r\n" % self._peer
        )
        if said.get(b"x-real-ip") != address:
            left_out.add(b"x-real-ip")
            added += b"X-Real-IP: %b\r\n" % address
        if b"x-forwarded-proto" not in said or b"x-forwarded-proto" in left_out:
            added += b"X-Forwarded-Proto: %b\r\n" % scheme
        host = self._member(said.get(b"x-forwarded-host", b""))
        if not host:
            host = self._element(said).get(b"host", b"")
            left_out.add(b"x-forwarded-host")
            added += b"X-Forwarded-Host: %b\r\n" % (host or head.host)
        if not said.get(b"x-forwarded-port"):
            # Who says how the client came to it means that scheme's port, unless a host says another.
            usual = _SCHEME_PORTS[scheme] if said_scheme or host else self._port
            left_out.add(b"x-forwarded-port")
            added += b"X-Forwarded-Port: %b\r\n" % (_port_of(host or head.host) or usual)
        head.dropped += [i for i in head.forwarding if head.fields[i][0].lower() in left_out and i not in head.dropped]
        return added

    def _said(self, head: RequestHead) -> dict[bytes, bytes]:
        """The fields by name in lower case, the lines of each joined."""
        said: dict[bytes, bytes] = {}
        for index in head.forwarding:
            name, value = head.fields[index]
            name, value = name.lower(), value.rstrip(b" \t")
            said[name] = b"%b, %b" % (said[name], value) if name in said else value
        return said

    def _client(self, said: dict[bytes, bytes]) -> bytes:
        """The client as the trusted proxies name it, with its port if they give one; else the peer."""
        return (
            self._member(said.get(b"x-forwarded-for", b""))
            or self._element(said).get(b"for", b"")
            or self._member(said.get(b"x-real-ip", b""))
            or self._peer
        )

    def _said_scheme(self, said: dict[bytes, bytes]) -> bytes:
        """The scheme that the first of the usual ways names, b"" when none does."""
        for name in _SCHEME_FIELDS:
            if name in said:
                scheme = self._scheme_in(name, said)
                if scheme:
                    return scheme
        return b""

    def _scheme_in(self, name: bytes, said: dict[bytes, bytes]) -> bytes:
        """The scheme that one field names, b"" when it names none."""
        word = self._element(said).get(b"proto", b"") if name == b"forwarded" else self._member(said[name])
        return _SCHEME_WORDS.get(word.lower(), b"")

    def _otherwise(self, said: dict[bytes, bytes], scheme: bytes) -> set[bytes]:
        """The fields that somebody may read as another scheme than `scheme`."""
        found: set[bytes] = set()
        if said.get(b"x-forwarded-proto") == scheme and len(_SCHEME_NAMES.intersection(said)) == 1:
            return found  # as most proxies say it, and nothing else
        for name in _SCHEME_NAMES.intersection(said):
            if name == b"x-forwarded-proto":
                is_same = said[name] == scheme
            elif name in _GUNICORN_WORDS:  # which takes a field that is repeated line by line
                is_same = _COMMA not in said[name] and (said[name] == _GUNICORN_WORDS[name]) is (scheme == _HTTPS)
            else:
                is_same = (self._scheme_in(name, said) or scheme) == scheme
            if not is_same:
                found.add(name)
        return found

    def _member(self, value: bytes) -> bytes:
        """What the outermost trusted proxy added to a list: each adds on the right, unless it replaces what it got."""
        if _COMMA not in value:
            return value
        members = value.split(b",")
        return members[max(0, len(members) - self._hops)].strip(b" \t")

    def _element(self, said: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """The parameters of the same proxy's element in Forwarded (RFC 7239 §4), by name in lower case."""
        if b"forwarded" not in said:
            return {}
        elements: list[bytes] = _ELEMENT.findall(said[b"forwarded"])
        if not elements:
            return {}
        pairs = _PAIR.findall(elements[max(0, len(elements) - self._hops)])
        return {name.lower(): value.strip(b'"') for name, value in pairs}


def _bare(node: bytes) -> bytes:
    """An address without the port and the brackets that some proxies write (RFC 7239 §6)."""
    if _COLON not in node:
        return node
    if node.startswith(b"["):
        return node[1:].partition(b"]")[0]
    return node.partition(b":")[0] if node.count(b":") == 1 else node


def _port_of(host: bytes) -> bytes:
    """The port in a Host value, b"" without one; an IPv6 literal's colons are inside brackets."""
    colon = host.rfind(b":")
    return host[colon + 1 :] if colon > host.rfind(b"]") else b""
