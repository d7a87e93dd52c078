"""Where something listens: an IP address and a port, or a Unix socket."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from app.transport.loopback import DEFAULT_ADDRESS

__all__ = ["FORMS", "Address"]

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
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
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


def _path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"unix:{path}: the path of a socket begins with /")
    if len(path.encode()) > _PATH_BYTES or "\0" in path:
        raise ValueError(f"unix:{path}: the path of a socket has at most {_PATH_BYTES} bytes")
    return path
