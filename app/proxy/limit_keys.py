"""Whose requests a limit counts together: the key of a request, as `[[limit]] key` says."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from app.protocol.field_values import cookie_in, field_in
from app.protocol.fields import Field
from app.protocol.path_patterns import path_of, plainest
from app.proxy.client_request import ClientRequest

__all__ = ["KeyOf", "key_of", "key_text"]

Claims = Mapping[str, object]
"""What is known of who is logged in; nothing where nobody is."""

KeyOf = Callable[[ClientRequest, Claims], bytes]

_PARTED = b"\0"
"""Stands in no address, field or cookie."""


def key_of(parts: Sequence[str]) -> KeyOf:
    """What gives the key of a request by these parts.

    A request that has not got a part counts as its client: who leaves it out is not without a limit, and not one with
    all others who do.
    """
    each = [_part(part) for part in parts]
    return each[0] if len(each) == 1 else partial(_together, each)


def key_text(parts: Sequence[str], key: bytes, hashed: int) -> bytes:
    """A key for people; of fields, cookies and claims, which may be secret, the hash alone."""
    if all(part in ("client", "path") for part in parts):
        return key.replace(_PARTED, b" ")
    return f"{' '.join(parts)} #{hashed & 0xFFFFFFFF:08x}".encode()


def client_key(address: str) -> bytes:
    """One for all addresses of a client: of IPv6 the /64, which is what one subscriber has at least."""
    if ":" not in address:
        return address.encode()
    return _network(address)


@lru_cache(maxsize=4096)
def _network(address: str) -> bytes:
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address.encode()
    if packed[:12] == _MAPPED:
        return socket.inet_ntop(socket.AF_INET, packed[12:]).encode()
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)).encode() + b"/64"


_MAPPED = bytes(10) + b"\xff\xff"


def _part(part: str) -> KeyOf:
    kind, _, name = part.partition(":")
    if kind == "client":
        return _client
    if kind == "path":
        return _path
    if kind == "jwt":
        return partial(_claim, name)
    if kind == "header":
        return partial(_found, field_in, name.lower().encode())
    return partial(_found, cookie_in, name.encode())


def _together(parts: list[KeyOf], request: ClientRequest, claims: Claims) -> bytes:
    return _PARTED.join([part(request, claims) for part in parts])


def _client(request: ClientRequest, claims: Claims) -> bytes:
    return client_key(request.forwarding.client_address(request.head))


def _path(request: ClientRequest, claims: Claims) -> bytes:
    return plainest(path_of(request.head.target.partition(b"?")[0]))


def _claim(name: str, request: ClientRequest, claims: Claims) -> bytes:
    value = claims.get(name)
    if value is None:
        return _for_want_of_it(request, claims)
    return str(value).encode("utf-8", "surrogatepass")  # JSON can say what is no Unicode


def _found(
    find: Callable[[Sequence[Field], bytes], bytes], name: bytes, request: ClientRequest, claims: Claims
) -> bytes:
    return find(request.head.fields, name) or _for_want_of_it(request, claims)


def _for_want_of_it(request: ClientRequest, claims: Claims) -> bytes:
    """The client, told apart from a field, a cookie or a claim that says the same."""
    return _PARTED + _client(request, claims)
