"""As much of a WebSocket server as a page needs that wants to be greeted."""

from __future__ import annotations

import base64
import hashlib

from tests.support.raw_upstream import Exchange

__all__ = ["greet"]

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def greet(exchange: Exchange, text: bytes) -> None:
    """Accepts the upgrade and sends one short message; returns when the browser has gone."""
    key = exchange.head.value(b"Sec-WebSocket-Key") or b""
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    exchange.send(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81" + bytes([len(text)]) + text)
    exchange.wait_for_hang_up()
