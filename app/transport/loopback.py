"""This machine's loopback, IPv4 or IPv6, where versions listen that run here."""

from __future__ import annotations

import socket

from app.address import DEFAULT_ADDRESS, Address, is_name

__all__ = ["family_of", "is_open", "other_address", "port_is_open", "refuse_itself"]


def family_of(address: str) -> socket.AddressFamily:
    """The kind of socket that reaches an IP address, or the path of a Unix socket. Raises OSError for a name."""
    if address.startswith("/"):
        return socket.AF_UNIX
    if is_name(address):
        raise OSError(f"no address of {address} is known")
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def other_address(address: str) -> str:
    """The loopback address of the other family, where a server that was told "localhost" may have gone."""
    return DEFAULT_ADDRESS if ":" in address else "::1"


def refuse_itself(sock: socket.socket, port: int) -> None:
    """Raises ConnectionRefusedError, as if nothing listened on `port`, when the socket is connected with itself.

    Where nothing listens on a port of the range from which the kernel takes those of outgoing connections, it may take
    that very one, and TCP then connects the socket with itself (simultaneous open, RFC 9293 §3.5). It is reset, for
    its TIME-WAIT would keep the port from the server to come.
    """
    own = sock.getsockname()
    if own[1] == port and own == sock.getpeername():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        raise ConnectionRefusedError("nothing listens there: the connection was one with itself")


def port_is_open(port: int, address: str = DEFAULT_ADDRESS) -> bool:
    """Whether something listens on a port of the loopback."""
    return is_open(Address(address, port))


def is_open(address: Address) -> bool:
    """Whether something listens at an address."""
    try:
        with socket.socket(family_of(address.host)) as attempt:
            attempt.settimeout(1.0)
            attempt.connect(address.sockaddr)
            if not address.is_unix:
                refuse_itself(attempt, address.port)
    except OSError:
        return False
    return True
