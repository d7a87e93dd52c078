"""`[[login]]` in the file: tables within an entry, and every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from app.operator_errors import ConfigError
from app.settings.loading import load
from app.settings.tables.login_settings import LoginConfig

JWT = {"issuer": "https://id.test/", "audience": "shop", "jwks": "https://id.test/jwks", "algorithms": ["RS256"]}
FORWARD = {"url": "http://127.0.0.1:4180/auth"}


def logins(*entries: dict[str, Any]) -> tuple[LoginConfig, ...]:
    return load({}, {}, {"login": list(entries)}).every(LoginConfig)


def faults(*entries: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        logins(*entries)
    return str(raised.value)


def test_entries_come_in_the_order_of_the_file_with_their_inner_tables() -> None:
    opened, token, forward = logins(
        {"name": "open", "path": ["/internal/health"], "login": "none"},
        {"name": "token", "path": ["/internal/*"], "jwt": {**JWT, "scope": "a b", "from": "cookie:sid"}},
        {"name": "forward", "forward": {**FORWARD, "copy": ["X-User"], "timeout": "500ms"}, "mode": "observe"},
    )
    assert opened.opens and not token.opens
    assert (token.jwt_issuer, token.jwt_scope, token.jwt_from) == ("https://id.test/", ("a", "b"), "cookie:sid")
    assert (forward.forward_url, forward.forward_copy, forward.forward_timeout) == (FORWARD["url"], ("X-User",), 0.5)
    assert forward.observes and not token.observes


ONE_OF = 'expected one of login = "none", jwt with its issuer, and forward with its url'

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"jwt": JWT}, "[[login]] 1: name = '': a login needs a name"),
    "nothing": ({"name": "a"}, ONE_OF),
    "two ways": ({"name": "a", "jwt": JWT, "forward": FORWARD}, ONE_OF),
    "open and closed": ({"name": "a", "login": "none", "jwt": JWT}, ONE_OF),
    "no issuer": ({"name": "a", "jwt": {"audience": "shop"}}, ONE_OF),
    "no audience": ({"name": "a", "jwt": {**JWT, "audience": ""}}, "expected both"),
    "no algorithm": ({"name": "a", "jwt": {**JWT, "algorithms": []}}, "expected at least one algorithm"),
    "none": ({"name": "a", "jwt": {**JWT, "algorithms": ["none"]}}, "jwt_algorithms = none: expected a list of PS256"),
    "no keys": ({"name": "a", "jwt": {**JWT, "jwks": ""}}, "expected either jwt.jwks, for public keys, or jwt.secret"),
    "keys and a secret": ({"name": "a", "jwt": {**JWT, "secret": "s" * 32}}, "expected either jwt.jwks"),
    "HMAC with public keys": (
        {"name": "a", "jwt": {**JWT, "algorithms": ["RS256", "HS256"]}},
        "jwt.algorithms = HS256: with public keys, expected PS256",
    ),
    "RSA with a secret": (
        {"name": "a", "jwt": {**JWT, "jwks": "", "secret": "s" * 32}},
        "jwt.algorithms = RS256: with a secret, expected HS256",
    ),
    "a short secret": (
        {"name": "a", "jwt": {**JWT, "jwks": "", "secret": "hush", "algorithms": ["HS256"]}},
        "jwt_secret = ********: expected a text of at least 32 bytes",
    ),
    "a secret that is short for its algorithm": (
        {"name": "a", "jwt": {**JWT, "jwks": "", "secret": "hush" * 8, "algorithms": ["HS256", "HS512"]}},
        "jwt.secret: expected at least 64 bytes for HS256, HS512",
    ),
    "keys over http": ({"name": "a", "jwt": {**JWT, "jwks": "http://id.test/jwks"}}, "an address with https"),
    "keys in a relative place": ({"name": "a", "jwt": {**JWT, "jwks": "keys.pem"}}, "the absolute path of a file"),
    "keys at an address with a password": ({"name": "a", "jwt": {**JWT, "jwks": "https://a:b@id.test/"}}, "jwt_jwks"),
    "keys at no address": ({"name": "a", "jwt": {**JWT, "jwks": "https://[::1/"}}, "jwt_jwks"),
    "an authority for a file": (
        {"name": "a", "jwt": {**JWT, "jwks": "/keys.pem", "ca": "/ca.pem"}},
        "jwt_ca = '/ca.pem', jwt_jwks = '/keys.pem': expected only beside jwks with an address with https",
    ),
    "an authority in a relative place": ({"name": "a", "jwt": {**JWT, "ca": "ca.pem"}}, "jwt_ca = ca.pem"),
    "a token from nowhere": ({"name": "a", "jwt": {**JWT, "from": "query:token"}}, "jwt_from = query:token"),
    "a claim that is no name": ({"name": "a", "jwt": {**JWT, "claims": ["a\r\nb"]}}, "jwt_claims"),
    "a typing error": (
        {"name": "a", "jwt": {**JWT, "isuer": "x"}},
        "jwt_isuer: no such setting; did you mean jwt_issuer?",
    ),
    "no table": ({"name": "a", "jwt": "https://id.test"}, "jwt: no such setting"),
    "a service over https": ({"name": "a", "forward": {"url": "https://auth.test/"}}, "forward_url"),
    "a service without a host": ({"name": "a", "forward": {"url": "http:///auth"}}, "forward_url"),
    "a service with a space": ({"name": "a", "forward": {"url": "http://a.test/a b"}}, "forward_url"),
    "a copied framing": ({"name": "a", "forward": {**FORWARD, "copy": ["Content-Length"]}}, "forward_copy"),
    "a copied login": ({"name": "a", "forward": {**FORWARD, "copy": ["authorization"]}}, "forward_copy"),
    "a sign-in that is none": ({"name": "a", "forward": {**FORWARD, "sign_in": "javascript:x"}}, "forward_sign_in"),
    "a sign-in elsewhere": ({"name": "a", "forward": {**FORWARD, "sign_in": "//evil.test"}}, "forward_sign_in"),
    "a mode that is none": ({"name": "a", "jwt": JWT, "mode": "off"}, "expected enforce or observe"),
    "a path that is none": ({"name": "a", "jwt": JWT, "path": ["internal"]}, "a list of paths that begin with /"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_fault_is_named_with_its_entry(what: str) -> None:
    entry, said = FAULTS[what]
    found = faults(entry)
    assert said in found
    assert "[[login]] " in found
    assert "hush" not in found


def test_all_faults_are_told_at_once() -> None:
    found = faults({"name": "a", "mode": "x", "jwt": {**JWT, "from": "x"}}, {"name": "a", "login": "x"})
    for said in ("mode = x", "jwt_from = x", "login = x", "there are several of this name"):
        assert said in found


@pytest.mark.parametrize(
    "place", ["https://id.test/jwks", "http://127.0.0.1:9/jwks", "http://[::1]:9/", "/etc/keys.pem"]
)
def test_places_of_keys(place: str) -> None:
    assert logins({"name": "a", "jwt": {**JWT, "jwks": place}})[0].jwt_jwks == place
