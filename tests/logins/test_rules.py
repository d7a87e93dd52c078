"""Tokens' form, what is remembered of them, and the fields that say who asks."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from app.errors import CAUSES
from app.logins.algorithms import PUBLIC, SECRET, algorithms_of
from app.logins.claims import check_scope, scopes_of
from app.logins.identity import IdentityFields, field_lines, field_name
from app.logins.login_figures import KeyState, LoginFigures
from app.logins.refusals import OUTCOMES, REASONS, Refused
from app.logins.remembered import REMEMBERED_S, GoodToken, Remembered
from app.logins.tokens import MAX_TOKEN_BYTES, TokenHead, bearer_token, cookie_token, read_head
from app.metrics.layout import LOGIN_ROOM
from app.protocol.request import RequestHead, RequestParser

ANY = GoodToken({}, b"")
ALLOWED = frozenset(("RS256", "ES256"))


def head(*lines: bytes) -> RequestHead:
    raw = b"\r\n".join((b"GET / HTTP/1.1", b"Host: h", *lines, b"", b""))
    return RequestParser(100, pass_aliases=True).parse(raw)


def part(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def token(**said: object) -> bytes:
    return part(said) + b".e30.c2ln"


def refused(reason: str) -> pytest.RaisesExc[Refused]:
    return pytest.RaisesExc(Refused, check=lambda error: error.reason == reason)


# --- where a token is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"Authorization: Bearer abc", b"authorization: bearer  abc", b"Authorization: BEARER abc "]
)
def test_bearer_token_is_found_in_any_case(line: bytes) -> None:
    assert bearer_token(head(line)) == b"abc"


@pytest.mark.parametrize("line", [b"Other: 1", b"Authorization: Basic YTpi", b"Authorization: Bearerabc"])
def test_what_is_no_bearer_token_is_none(line: bytes) -> None:
    with refused("no_token"):
        bearer_token(head(line))


def test_two_fields_are_ambiguous() -> None:
    with refused("ambiguous"):
        bearer_token(head(b"Authorization: Bearer a", b"authorization: Basic x"))


def test_cookie_is_found_among_others_in_any_field() -> None:
    assert cookie_token(head(b"Cookie: a=1; sid2=x", b"Cookie: b=2;sid=abc ; c"), b"sid") == b"abc"


@pytest.mark.parametrize("line", [b"Other: 1", b"Cookie: SID=a; xsid=b", b"Cookie: sid=", b"Cookie: sid"])
def test_cookie_of_another_name_or_none_is_no_token(line: bytes) -> None:
    with refused("no_token"):
        cookie_token(head(line), b"sid")


def test_two_cookies_of_the_name_are_ambiguous() -> None:
    with refused("ambiguous"):
        cookie_token(head(b"Cookie: sid=a; sid=a"), b"sid")


# --- what it looks like ----------------------------------------------------------------------------------


def test_head_of_a_token_says_algorithm_and_key() -> None:
    assert read_head(token(alg="RS256", kid="k"), ALLOWED) == TokenHead("RS256", "k")
    assert read_head(token(alg="ES256"), ALLOWED) == TokenHead("ES256", "")


MALFORMED = {
    "too long": b"a" * MAX_TOKEN_BYTES + b".e30.c2ln",
    "two parts": part({"alg": "RS256"}) + b".e30",
    "four parts": token(alg="RS256") + b".e30",
    "no signature": part({"alg": "RS256"}) + b".e30.",
    "padding": token(alg="RS256") + b"=",
    "another alphabet": b"e+/x.e30.c2ln",
    "no JSON": b"eHg.e30.c2ln",
    "no text": b"_w.e30.c2ln",
    "an odd length": b"e.e30.c2ln",
    "nested": base64.urlsafe_b64encode(b"[" * 9000) + b".e30.c2ln",
    "no object": part([1]) + b".e30.c2ln",
    "a key that is no text": token(alg="RS256", kid=1),
    "a key with a long name": token(alg="RS256", kid="k" * 257),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_text_that_is_no_token_is_malformed(what: str) -> None:
    with refused("malformed"):
        read_head(MALFORMED[what], ALLOWED)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS512", "rs256", "", None, ["RS256"], {"a": 1}])
def test_other_algorithms_are_refused(algorithm: object) -> None:
    with refused("algorithm"):
        read_head(token(alg=algorithm), ALLOWED)


@pytest.mark.parametrize("critical", [["b64"], ["exp"], [], None, "x"])
def test_critical_extensions_are_refused(critical: object) -> None:
    with refused("critical"):
        read_head(token(alg="RS256", crit=critical, b64=True), ALLOWED)


# --- claims ----------------------------------------------------------------------------------------------


def test_scopes_are_found_as_text_and_as_list() -> None:
    assert scopes_of({"scope": "a  b", "scp": ["c", 1, None]}) == {"a", "b", "c"}
    assert scopes_of({"scope": None, "scp": 5}) == frozenset()


def test_all_scopes_are_needed() -> None:
    check_scope({}, frozenset())
    check_scope({"scope": "a b c"}, frozenset("ab"))
    with refused("scope"):
        check_scope({"scope": "a"}, frozenset("ab"))


@pytest.mark.parametrize(
    ("curve", "algorithm"), [("secp256r1", {"ES256"}), ("ed25519", {"EdDSA"}), ("secp256k1", set())]
)
def test_curve_is_good_for_one_algorithm(curve: str, algorithm: set[str]) -> None:
    assert algorithms_of(curve) == algorithm


def test_no_algorithm_is_none_or_both_public_and_secret() -> None:
    assert "none" not in (*PUBLIC, *SECRET)
    assert not set(PUBLIC) & set(SECRET)


# --- what is remembered ----------------------------------------------------------------------------------


def test_token_is_remembered_for_a_while_and_never_past_its_end() -> None:
    known = Remembered()
    a, b = GoodToken({"sub": "a"}, b""), GoodToken({"sub": "b"}, b"")
    known.keep(b"long", a, 1000.0, 9999.0)
    known.keep(b"short", b, 1000.0, 1010.0)
    assert known.find(b"long", 1000.0 + REMEMBERED_S - 0.1) == a
    assert known.find(b"long", 1000.0 + REMEMBERED_S) is None
    assert known.find(b"short", 1009.9) == b
    assert known.find(b"short", 1010.0) is None
    assert known.find(b"short", 1000.0) is None  # it is gone


def test_the_oldest_makes_room() -> None:
    known = Remembered(2)
    for number in range(3):
        known.keep(b"%d" % number, ANY, 0.0, 50.0)
    assert [known.find(b"%d" % number, 1.0) for number in range(3)] == [None, ANY, ANY]


def test_other_keys_end_what_is_remembered() -> None:
    known = Remembered()
    known.keep(b"a", ANY, 0.0, 50.0)
    known.forget()
    assert known.find(b"a", 1.0) is None


# --- who asks, in fields ---------------------------------------------------------------------------------

FORGED = [b"X-Auth-Subject", b"x-auth-anything", b"X_Auth_Subject", b"x.AUTH~x", b"Remote-User", b"REMOTE_USER"]


@pytest.mark.parametrize("name", FORGED)
def test_identity_in_any_spelling_is_taken_off(name: bytes) -> None:
    fields = IdentityFields(["Remote-User"])
    sent = head(b"A: 1", name + b": root", b"B: 2", name + b":root")
    assert fields.are_in(sent)
    assert fields.are_in(sent)
    assert fields.taken_off(sent.raw) == b"GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\n\r\n"


@pytest.mark.parametrize("name", [b"X-Auth", b"X-Authority", b"Xauth-Subject", b"Remote-Users", b"Authorization"])
def test_other_fields_are_left(name: bytes) -> None:
    assert not IdentityFields(["Remote-User"]).are_in(head(name + b": x"))


def test_names_beyond_any_use_are_not_remembered() -> None:
    fields = IdentityFields([])
    assert not any(fields.covers(b"n%d" % number) for number in range(3000))
    assert fields.covers(b"X-Auth-Late")


def test_claims_become_fields() -> None:
    claims = {"sub": "ada", "email_verified": True, "level": 3, "groups": ["a", "", {"x": 1}, "b"], "o": {}, "s": " "}
    wanted = ("sub", "email_verified", "level", "groups", "o", "s", "none")
    expected = b"X-Auth-Subject: ada\r\nX-Auth-Email-Verified: true\r\nX-Auth-Level: 3\r\nX-Auth-Groups: a,b\r\n"
    assert field_lines(claims, wanted) == expected
    assert field_lines({"b": False, "f": 1.5}, ("b", "f")) == b"X-Auth-B: false\r\nX-Auth-F: 1.5\r\n"
    assert field_name("preferred_username") == "X-Auth-Preferred-Username"


def test_no_claim_can_end_its_line_or_be_another_text() -> None:
    assert field_lines({"sub": "a\r\nb\0%\x7fé\ud800"}, ("sub",)) == b"X-Auth-Subject: a%0D%0Ab%00%25%7F%C3%A9?\r\n"


# --- refusals --------------------------------------------------------------------------------------------


def test_every_reason_has_room_in_the_figures_and_a_row_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "logins.md").read_text().partition("## Reasons")[2]
    assert len(OUTCOMES) <= LOGIN_ROOM
    for reason, error in REASONS.items():
        assert error.cause in CAUSES
        row = next(line for line in page.splitlines() if line.startswith("| `") and f"`{reason}`" in line)
        assert str(error.status) in row or reason == "auth_server"


def test_figures_are_told_by_reason() -> None:
    counts = [0] * len(OUTCOMES)
    counts[OUTCOMES.index("passed")] = 5
    counts[OUTCOMES.index("expired")] = 3
    counts[OUTCOMES.index("would be scope")] = 2
    states = [KeyState("https://id.test/", 2, 1.26, ""), KeyState("/keys", 0, None, "gone")]
    assert LoginFigures(counts, states).as_json() == {
        "passed": 5,
        "refused": {"expired": 3},
        "would_refuse": {"scope": 2},
        "keys": [
            {"source": "https://id.test/", "keys": 2, "age_s": 1.3, "fault": None},
            {"source": "/keys", "keys": 0, "age_s": None, "fault": "gone"},
        ],
    }
