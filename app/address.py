"""Where something listens, an IP address and a port or a Unix socket, and the backends of a version."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["DEFAULT_ADDRESS", "FORMS", "MAX_BACKENDS", "Address", "Backend", "backends_of", "is_port"]

DEFAULT_ADDRESS = "127.0.0.1"
"""Where versions listen that run here, unless `[app] address` says otherwise."""

FORMS = "10.0.0.7:8000, [fd00::7]:8000 or unix:/run/shop.sock"
"""How an address is written, for those who are told that theirs is none."""

_UNIX = "unix:"
_PATH_BYTES = 107
"""What `sockaddr_un` has room for on Linux, without its final NUL (unix(7))."""


class Address(NamedTuple):
    """An IP address and a port; of a Unix socket its absolute path, and 0."""

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
        is_bracketed = host.startswith("[") and host.endswith("]")
        try:
            parsed = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
        except ValueError:
            raise ValueError(f"{text!r} has no IP address; an address is such as {FORMS}") from None
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
