"""Names are looked up anew, keep what they had when that fails, and are asked for when they are new."""

from __future__ import annotations

import socket

import pytest

from app.transport.names import Names, addresses_of, look_up


class Resolver:
    """Knows what it is told."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}

    def __call__(self, name: str) -> list[str]:
        if name not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.known[name]


def test_system_knows_this_machine() -> None:
    assert "127.0.0.1" in look_up("localhost")
    assert addresses_of("no-such-name.invalid") == ()


def test_name_has_addresses_once_it_was_looked_up() -> None:
    resolver, asked = Resolver(), []
    names = Names(lambda: asked.append(1), resolver)
    resolver.known = {"shop": ["10.0.0.1"]}
    assert names("shop") == names("shop") == ()
    assert asked == [1], "once for each name"
    assert names.look()
    assert names("shop") == ("10.0.0.1",)
    assert not names.look()
    resolver.known = {"shop": ["10.0.0.1", "10.0.0.2"]}
    assert names.look()
    assert names("shop") == ("10.0.0.1", "10.0.0.2")


def test_name_that_cannot_be_looked_up_keeps_what_it_had_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    resolver = Resolver()
    names = Names(lambda: None, resolver)
    resolver.known = {"shop": ["10.0.0.1"]}
    names("shop")
    names.look()
    resolver.known = {}
    for _ in range(3):
        assert not names.look()
    assert names("shop") == ("10.0.0.1",)
    assert caplog.text.count("cannot be looked up: Name or service not known") == 1
