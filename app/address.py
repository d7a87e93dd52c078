"""Where something listens, an IP address and a port or a Unix socket, and the backends of a version."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = [
    "DEFAULT_ADDRESS",
    "FORMS",
    "MAX_BACKENDS",
    "Address",
    "Backend",
    "backends_of",
    "is_name",
    "is_port",
    "resolved",
]

DEFAULT_ADDRESS = "127.0.0.1"
"""Where versions listen that run here, unless `[app] address` says otherwise."""

FORMS = "10.0.0.7:8000, [fd00::7]:8000, shop.internal:8000 or unix:/run/shop.sock"
"""How an address is written, for those who are told that theirs is none."""

_UNIX = "unix:"
_PATH_BYTES = 107
"""What `sockaddr_un` has room for on Linux, without its final NUL (unix(7))."""


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


class Address(NamedTuple):
    """An IP address, or a name that has some, and a port; of a Unix socket its absolute path, and 0."""

    host: str
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads what `str` writes. Raises ValueError that says what is wrong."""
        if text.startswith(_UNIX):
            return cls(_path(text.removeprefix(_UNIX)))
        host, colon, port = text.rpartition(":")
        if not colon or not is_port(port):
            raise ValueError(f"{text!r} is no address such as {FORMS}")
        if is_name(host) and _NAME.fullmatch(host):
            if host.lower() == "localhost":  # where most servers listen on one of the two
                raise ValueError(f"{text!r} has two addresses: 127.0.0.1:{port} or [::1]:{port}?")
            return cls(host.lower(), int(port))
        is_bracketed = host.startswith("[") and host.endswith("]")
        try:
            parsed = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
        except ValueError:
            raise ValueError(f"{text!r} has no IP address and no name; an address is such as {FORMS}") from None
        if is_bracketed != (parsed.version == 6):
            raise ValueError(f"{text!r}: an IPv6 address, and no other, stands in brackets")
        return cls(str(parsed), int(port))

    @property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self.host.startswith("/")

    @property
    def sockaddr(self) -> str | tuple[str, int]:
        """What `socket.connect` takes."""
        return self.host if self.is_unix else (self.host, self.port)

    @property
    def authority(self) -> str:
        """As a URL or a Host field has it (RFC 3986 §3.2.2). A Unix socket has none, and is "localhost" there."""
        if self.is_unix:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def spot(self) -> str:
        """For people, who are spared the usual address."""
        if self.is_unix:
            return self.host
        return f"port {self.port}" if self.host == DEFAULT_ADDRESS else f"port {self.port} of {self.host}"

    def __str__(self) -> str:
        return _UNIX + self.host if self.is_unix else self.authority


def is_name(host: str) -> bool:
    """Whether the host of an address is a name: what ends with a number is an IPv4 address (WHATWG URL §3.5)."""
    return ":" not in host and not host.startswith("/") and not host.rpartition(".")[2].isdigit()


def is_port(text: str) -> bool:
    """Whether a text is the number of a port that something can listen on."""
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"unix:{path}: the path of a socket begins with /")
    if len(path.encode()) > _PATH_BYTES or "\0" in path:
        raise ValueError(f"unix:{path}: the path of a socket has at most {_PATH_BYTES} bytes")
    return path


MAX_BACKENDS = 16
"""How many backends a version may have: the workers count for each in a file of fixed size."""

MAX_WEIGHT = 100


class Backend(NamedTuple):
    """One of the listeners of a version, and its share of the requests beside the others'."""

    address: Address
    weight: int = 1

    @classmethod
    def parse(cls, text: str) -> Backend:
        """Reads an address, with or without a weight: "10.0.0.7:8000 weight=3". Raises ValueError."""
        address, *more = text.split()
        if not more:
            return cls(Address.parse(address))
        name, _, weight = more[0].partition("=")
        if len(more) > 1 or name != "weight" or not weight.isascii() or not weight.isdigit():
            raise ValueError(f"{text!r}: after the address comes nothing but weight=N")
        if not 1 <= int(weight) <= MAX_WEIGHT:
            raise ValueError(f"{text!r}: a weight is from 1 to {MAX_WEIGHT}")
        return cls(Address.parse(address), int(weight))


def backends_of(texts: Iterable[str]) -> tuple[Backend, ...]:
    """The backends of one version. Raises ValueError for one that is none, for two that are one, and for too many."""
    found = tuple(map(Backend.parse, texts))
    addresses = [backend.address for backend in found]
    for number, address in enumerate(addresses):
        if address in addresses[:number]:
            raise ValueError(f"{address} is named twice")
    if len(found) > MAX_BACKENDS:
        raise ValueError(f"{len(found)} backends, and a version has at most {MAX_BACKENDS}")
    return found


def resolved(backends: tuple[Backend, ...], addresses_of: Callable[[str], Iterable[str]]) -> tuple[Backend, ...]:
    """The backends with one for each address that a name has; a name without any stays. `MAX_BACKENDS` at most."""
    if not any(is_name(backend.address.host) for backend in backends):
        return backends
    found: dict[Address, Backend] = {}
    for backend in backends:
        (host, port), weight = backend.address, backend.weight
        places = [Address(one, port) for one in addresses_of(host)] if is_name(host) else []
        for place in places or [backend.address]:
            found.setdefault(place, Backend(place, weight))
    return tuple(found.values())[:MAX_BACKENDS]
