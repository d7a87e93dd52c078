"""Which protocols a connection may be switched to."""

from __future__ import annotations

import pytest

from app.protocol.upgrade import known_of, was_asked_for


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (b"websocket", b"websocket"),
        (b"WEBSOCKET", b"WEBSOCKET"),
        (b"h2c", b""),
        (b"foo, websocket", b"websocket"),
        (b"websocket , foo/1,chat/2", b"websocket, chat/2"),
        (b"chat/1, chat", b""),
        (b",, ,", b""),
        (b"websockets, web socket", b""),
        (b"", b""),
    ],
)
def test_only_known_protocols_pass_in_order_and_spelling(value: bytes, passed: bytes) -> None:
    assert known_of(value, ("WebSocket", "chat/2")) == passed


@pytest.mark.parametrize(
    ("answered", "asked", "fits"),
    [
        (b"websocket", b"websocket", True),
        (b"WebSocket", b"websocket", True),
        (b"chat/2", b"websocket, chat/2", True),
        (b"chat/2, websocket", b"websocket, chat/2", True),
        (b"chat/2", b"chat", True),
        (b"chat", b"chat/2", False),
        (b"chat/3", b"chat/2", False),
        (b"h2c", b"websocket", False),
        (b"websocket, h2c", b"websocket", False),
        (b"", b"websocket", False),
        (b"websocket", b"", False),
        (b"", b"", False),
    ],
)
def test_switch_is_to_what_was_asked_for(answered: bytes, asked: bytes, fits: bool) -> None:
    assert was_asked_for(answered, asked) is fits
