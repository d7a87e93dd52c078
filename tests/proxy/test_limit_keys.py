"""Whose requests a limit counts together."""

from __future__ import annotations

import pytest

from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestParser
from app.proxy.client_request import ClientRequest
from app.proxy.limit_keys import client_key, key_of, key_text

PARSER = RequestParser(100, False, False, ())


def request(target: bytes = b"/", fields: bytes = b"", hops: int = 0) -> ClientRequest:
    head = PARSER.parse(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, fields))
    forwarding = Forwarding(b"10.0.0.7", b"http", 80, hops)
    return ClientRequest(head, None, None, forwarding, 0, True)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.7", b"10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", b"2001:db8:1:2::/64"),
        ("2001:db8:1:2::", b"2001:db8:1:2::/64"),
        ("fe80::1%eth0", b"fe80::/64"),
        ("::ffff:10.0.0.7", b"10.0.0.7"),
        ("unknown:", b"unknown:"),
    ],
)
def test_client_is_an_address_or_the_network_of_a_subscriber(address: str, key: bytes) -> None:
    assert client_key(address) == key


def test_client_is_the_one_behind_trusted_proxies() -> None:
    field = b"X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\n"
    assert key_of(["client"])(request(fields=field), {}) == b"10.0.0.7"
    assert key_of(["client"])(request(fields=field, hops=1), {}) == b"192.0.2.1"


def test_field_and_cookie_count_by_their_value_and_without_it_by_client() -> None:
    assert key_of(["header:X-Api-Key"])(request(fields=b"x-api-key: k1\r\n"), {}) == b"k1"
    assert key_of(["cookie:sid"])(request(fields=b"Cookie: a=1; sid=s1\r\n"), {}) == b"s1"
    for part in ("header:X-Api-Key", "cookie:sid", "jwt:sub"):
        assert key_of([part])(request(), {}) == b"\x0010.0.0.7"
    assert key_of(["header:X-Api-Key"])(request(fields=b"x-api-key: 10.0.0.7\r\n"), {}) == b"10.0.0.7"


def test_claim_counts_by_its_value_once_somebody_has_logged_in() -> None:
    assert key_of(["jwt:sub"])(request(), {"sub": "ann"}) == b"ann"
    assert key_of(["jwt:sub"])(request(), {"iss": "x"}) == b"\x0010.0.0.7"
    assert key_of(["jwt:sub"])(request(), {"sub": "\ud800"}) == b"\xed\xa0\x80"


@pytest.mark.parametrize(
    "target",
    [b"/login", b"/login?a=1", b"/LOGIN", b"/login/", b"/x/../login", b"/%6cogin", b"//login", b"/login;a=1"],
)
def test_path_is_the_same_in_every_spelling(target: bytes) -> None:
    assert key_of(["path"])(request(target), {}) == b"/login"


@pytest.mark.parametrize(("target", "key"), [(b"/", b"/"), (b"http://x/login", b"/login"), (b"/;a" * 9000, b"?")])
def test_path_that_is_out_of_the_ordinary(target: bytes, key: bytes) -> None:
    assert key_of(["path"])(request(target), {}) == key


def test_list_counts_those_that_have_all_in_common() -> None:
    key = key_of(["client", "path"])
    assert key(request(b"/a"), {}) == key(request(b"/a?x"), {}) != key(request(b"/b"), {})


def test_key_for_people_shows_no_secret() -> None:
    assert key_text(["client", "path"], b"10.0.0.7\0/login", 7) == b"10.0.0.7 /login"
    assert key_text(["header:X-Api-Key"], b"secret", 0xABC) == b"header:X-Api-Key #00000abc"
