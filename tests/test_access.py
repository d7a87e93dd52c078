"""Who is let in, and that nothing of the token leaves."""

from __future__ import annotations

import pytest

from app.access import COOKIE_LIFETIME_S, Access, AllowList
from app.settings.tables.router_settings import RouterConfig

NOW = 1_772_600_400.0
FAR = "203.0.113.9"
TOKEN = "correct horse battery staple"


def access(token: str = TOKEN, **settings: object) -> Access:
    """Access with a token and the default networks."""
    return Access(RouterConfig(admin_token=token, **settings))  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fe80::1", "::ffff:10.0.0.1"])
def test_address_in_an_allowed_network_is_admitted(address: str) -> None:
    assert access().admits(address, "", "", NOW)


@pytest.mark.parametrize("address", [FAR, "2001:db8::1", "::ffff:203.0.113.9", "", "unknown", "10.0.0.1:80"])
def test_other_address_is_not(address: str) -> None:
    assert not access().admits(address, "", "", NOW)


@pytest.mark.parametrize("field", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
def test_token_is_admitted_from_anywhere(field: str) -> None:
    assert access().admits(FAR, field, "", NOW)


@pytest.mark.parametrize("field", [f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x", "Bearer", TOKEN, "Bearer Ã©"])
def test_anything_else_is_not_the_token(field: str) -> None:
    assert not access().admits(FAR, field, "", NOW)


def test_without_a_token_nothing_is_the_token() -> None:
    without = access(token="")
    assert not without.is_token("")
    assert not without.admits(FAR, "Bearer ", "", NOW)
    assert not without.admits(FAR, "", without.cookie(NOW), NOW)


def test_cookie_is_admitted_until_it_ends() -> None:
    cookie = access().cookie(NOW)
    assert access().admits(FAR, "", cookie, NOW + COOKIE_LIFETIME_S - 1)
    assert not access().admits(FAR, "", cookie, NOW + COOKIE_LIFETIME_S)


def test_cookie_cannot_be_prolonged() -> None:
    said, until, seal = access().cookie(NOW).split(".")
    assert not access().admits(FAR, "", f"{said}.{int(until) + 9_999_999}.{seal}", NOW)


@pytest.mark.parametrize("cookie", ["", ".", "x.y", "9999999999.", "9999999999.é"])
def test_made_up_cookie_is_not_admitted(cookie: str) -> None:
    assert not access().admits(FAR, "", cookie, NOW)


def test_cookie_ends_with_its_token() -> None:
    assert not access(token="another").admits(FAR, "", access().cookie(NOW), NOW)


def test_cookie_does_not_hold_the_token() -> None:
    assert TOKEN not in access().cookie(NOW)


def test_addresses_are_not_remembered_without_end() -> None:
    allowed = AllowList(["10.0.0.0/16"])
    for number in range(3000):
        assert f"10.0.{number >> 8}.{number & 255}" in allowed
    assert "10.1.0.0" not in allowed
