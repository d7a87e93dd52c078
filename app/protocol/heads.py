"""Writing the heads that leave the proxy: the client's towards the upstream, the upstream's towards the client.

A head is copied as the bytes that came; only lines that end here are left out, and what we add goes last.
"""

from __future__ import annotations

from app.protocol.fields import Field
from app.protocol.request import RequestHead
from app.protocol.response import ResponseHead

__all__ = ["Forwarding", "client_head", "informational_head", "upstream_head"]


_SCHEME_PORTS = {b"http": b"80", b"https": b"443"}


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
        """The X-Forwarded-* lines to add to `head`, each with its CRLF. Marks the client's own to be dropped."""
        if self._hops and head.forwarding:
            return self._trusted(head)
        if head.forwarding:
            head.dropped += head.forwarding
        if head.host != self._host:
            self._host = head.host
            self._block = (
                b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Port: %b\r\n"
                % (self._peer, self._scheme, head.host, _port_of(head.host) or self._port)
            )
        return self._block

    def client_address(self, head: RequestHead) -> str:
        """The right-most address that no trusted proxy vouches for: the client, as far as it can be known."""
        if not self._hops or not head.forwarded_for:
            return self._peer.decode("latin-1")
        chain = [part.strip() for part in head.forwarded_for.decode("latin-1").split(",")]
        return chain[max(0, len(chain) - self._hops)]

    def is_secure(self, head: RequestHead) -> bool:
        """Whether the client came over https, as far as those that are trusted say."""
        said = [head.fields[index] for index in head.forwarding] if self._hops else []
        schemes = [value for name, value in said if name.lower() == b"x-forwarded-proto"] or [self._scheme]
        return schemes[0].partition(b",")[0].strip().lower() == b"https"

    def _trusted(self, head: RequestHead) -> bytes:
        """A trusted proxy speaks: its fields stay, its address joins the list, what it left out is filled in."""
        said = {head.fields[index][0].lower(): index for index in head.forwarding}
        head.dropped += [i for i in head.forwarding if head.fields[i][0].lower() == b"x-forwarded-for"]
        chain = b"%b, %b" % (head.forwarded_for, self._peer) if head.forwarded_for else self._peer
        added = [b"X-Forwarded-For: %b\r\n" % chain]
        scheme_at = said.get(b"x-forwarded-proto")
        # Who says how the client came to it means that scheme's port, unless Host or it says another.
        port = self._port if scheme_at is None else _SCHEME_PORTS.get(head.fields[scheme_at][1].lower(), self._port)
        for name, value in (
            (b"X-Forwarded-Proto", self._scheme),
            (b"X-Forwarded-Host", head.host),
            (b"X-Forwarded-Port", _port_of(head.host) or port),
        ):
            if name.lower() not in said:
                added.append(b"%b: %b\r\n" % (name, value))
        return b"".join(added)


def _port_of(host: bytes) -> bytes:
    """The port in a Host value, b"" without one; an IPv6 literal's colons are inside brackets."""
    return host.rpartition(b":")[2] if b":" in host[host.rfind(b"]") + 1 :] else b""


def _without(raw: bytes, fields: list[Field], dropped: list[int]) -> bytes:
    """The start line and the field lines of `raw` but those `dropped`, each with its CRLF.

    Cutting a line out of the bytes is ten times faster than taking the head apart. Of equal lines the first one
    goes, which makes no difference: fields are dropped by name, so an equal one is dropped as well.
    """
    kept = raw[:-2]
    for index in dropped:
        name, value = fields[index]
        shorter = kept.replace(b"\r\n" + name + b": " + value + b"\r\n", b"\r\n", 1)
        if len(shorter) == len(kept):  # written with other white space after the colon
            lines = raw.split(b"\r\n")[:-2]
            return b"".join(line + b"\r\n" for index, line in enumerate(lines, -1) if index not in dropped)
        kept = shorter
    return kept


def upstream_head(head: RequestHead, added: bytes, authority: bytes) -> bytes:
    """The head to send upstream.

    Args:
        head: the client's head; the fields in `head.dropped` are left out.
        added: our own lines, each with its CRLF.
        authority: host and port of the upstream, for an HTTP/1.0 client that sent no Host.
    """
    if not head.dropped and not head.http10:
        return head.raw[:-2] + added + b"\r\n"
    kept = _without(head.raw, head.fields, head.dropped)
    if head.http10:
        # RFC 9110 §2.5: an intermediary states its own version, which makes Host a must (RFC 9112 §3.2).
        kept = b"%b %b HTTP/1.1%b" % (head.method, head.target, kept[kept.index(b"\r\n") :])
        if not head.hosts:
            added = b"Host: " + (head.host or authority) + b"\r\n" + added
    return kept + head.reframed + added + b"\r\n"


def client_head(head: ResponseHead, added: bytes) -> bytes:
    """The head to send to the client: the upstream's without `head.dropped`, and our own lines last."""
    raw = head.raw
    if not head.dropped and not head.rewrites_line:
        return raw[:-2] + added + b"\r\n"
    kept = _without(raw, head.fields, head.dropped)
    if head.rewrites_line:
        kept = b"HTTP/1.1 %d %b%b" % (head.status, head.reason, kept[kept.index(b"\r\n") :])
    return kept + added + b"\r\n"


def informational_head(head: ResponseHead) -> bytes:
    """A 1xx head to pass on (RFC 9110 §15.2)."""
    return client_head(head, b"")
