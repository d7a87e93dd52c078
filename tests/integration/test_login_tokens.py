"""Paths that are closed to who shows no good token, and an issuer that changes its keys, goes away, talks rubbish."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest

from tests.integration.holding import request
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, bearer, private_key, public_jwk
from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

TOML = """
[[login]]
name = "open"
path = ["/internal/health", "/internal/public/*"]
login = "none"

[[login]]
name = "admin"
path = ["/internal/*"]
jwt = {{ issuer = "{issuer}", audience = "{audience}", jwks = "{jwks}", algorithms = ["RS256", "ES256"]{more} }}

[[login]]
name = "cookie"
path = ["/cookie"]
jwt = {{ issuer = "{issuer}", audience = "{audience}", jwks = "{jwks}", algorithms = ["RS256"], from = "cookie:sid" }}

[[login]]
name = "watched"
path = ["/watched"]
mode = "observe"
jwt = {{ issuer = "{issuer}", audience = "{audience}", jwks = "{jwks}", algorithms = ["RS256"] }}
"""


def toml(issuer: Issuer, more: str = "") -> str:
    return TOML.format(issuer=ISSUER, audience=AUDIENCE, jwks=issuer.address, more=more)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@contextmanager
def closed(folder: Path, blue: RawUpstream, issuer: Issuer, more: str = "") -> Iterator[RouterProcess]:
    with configured_router(folder, blue.port, toml(issuer, more)) as router:
        yield router


@pytest.fixture
def router(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> Iterator[RouterProcess]:
    with closed(tmp_path, blue, issuer) as router:
        yield router


def visit(router: RouterProcess, token: str = "", target: bytes = b"/internal/x", fields: bytes = b"") -> Response:
    return router.ask(request(target=target, fields=fields + (bearer(token) if token else b"")))


def test_good_token_passes_and_the_application_is_told_of_its_claims(
    router: RouterProcess, blue: RawUpstream, issuer: Issuer
) -> None:
    token = issuer.token(scope="shop:admin shop:read")
    for _ in range(3):
        assert visit(router, token).status == 200
    for exchange in blue.exchanges:
        assert exchange.head.values(b"X-Auth-Subject") == [b"ada"]
        assert exchange.head.values(b"X-Auth-Scope") == [b"shop:admin shop:read"]
        assert exchange.head.value(b"Authorization") == b"Bearer " + token.encode()


def test_without_a_token_it_is_401_and_the_application_not_asked(router: RouterProcess, blue: RawUpstream) -> None:
    answer = visit(router)
    assert (answer.status, answer.text) == (401, "Login required")
    assert answer.value(b"WWW-Authenticate") == b'Bearer realm="login"'
    assert answer.value(b"Cache-Control") == b"no-store"
    assert blue.exchanges == []


def signed_by(kind: str, algorithm: str, key_id: str = "first") -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": now + 300}
    return jwt.encode(claims, private_key(kind), algorithm, {"kid": key_id})


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned() -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": int(time.time()) + 300}
    return f"{part({'alg': 'none', 'kid': 'first'})}.{part(claims)}."


BAD_TOKENS: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 31),
    "not_yet": lambda issuer: issuer.token(nbf=int(time.time()) + 300),
    "issuer": lambda issuer: issuer.token(iss="https://id.example.com"),
    "audience": lambda issuer: issuer.token(aud="another"),
    "claims": lambda issuer: issuer.token(without="exp"),
    "signature": lambda issuer: signed_by("RSA-2048:other", "RS256"),
    "unknown_key": lambda issuer: signed_by("RSA-2048:other", "RS256", "other"),
    "algorithm": lambda issuer: signed_by("RSA-2048", "RS512"),
    "critical": lambda issuer: issuer.token({"crit": ["x"], "x": 1}),
}


@pytest.mark.parametrize("why", BAD_TOKENS)
def test_bad_token_is_refused_and_only_the_log_says_why(
    why: str, router: RouterProcess, blue: RawUpstream, issuer: Issuer
) -> None:
    answer = visit(router, BAD_TOKENS[why](issuer))
    assert (answer.status, answer.text) == (401, "Login required")
    assert answer.value(b"WWW-Authenticate") == b'Bearer realm="login", error="invalid_token"'
    assert why.encode() not in answer.body.lower()
    assert blue.exchanges == []
    wait_until(lambda: f"login admin refuses ({why})" in router.log, f"{why} in the log")


NO_TOKENS: dict[str, Callable[[], str]] = {
    "unsigned": unsigned,
    "of 50 parts": lambda: ".".join(["e30"] * 50),
    "that is no token": lambda: "secret",
    "with a head that is nested": lambda: f"{'W1tb' * 4000}.e30.e30",
    "of 20 KiB": lambda: f"{part({'alg': 'RS256', 'x': 'x' * 15_000})}.e30.e30",
}


@pytest.mark.parametrize("what", NO_TOKENS)
def test_text_that_is_no_token_is_refused(what: str, router: RouterProcess, blue: RawUpstream) -> None:
    assert visit(router, NO_TOKENS[what]()).status == 401
    assert blue.exchanges == []


def test_token_of_100_kib_is_too_large_a_field(router: RouterProcess, blue: RawUpstream) -> None:
    assert visit(router, "x" * 102_400).status == 431
    assert blue.exchanges == []


def test_two_tokens_in_one_request_are_refused(router: RouterProcess, issuer: Issuer, blue: RawUpstream) -> None:
    token = issuer.token()
    assert visit(router, token, fields=bearer(token)).status == 401
    assert visit(router, target=b"/cookie", fields=f"Cookie: sid={token}; sid=x\r\n".encode()).status == 401
    assert blue.exchanges == []


def test_token_is_taken_from_its_cookie(router: RouterProcess, issuer: Issuer) -> None:
    token = issuer.token()
    assert visit(router, token, target=b"/cookie").status == 401
    assert visit(router, target=b"/cookie", fields=f"Cookie: a=1; sid={token}; b=2\r\n".encode()).status == 200


def test_scope_that_is_missing_is_403(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    with closed(tmp_path, blue, issuer, ', scope = "shop:admin"') as router:
        answer = visit(router, issuer.token(scope="shop:read"))
        assert answer.status == 403
        assert answer.value(b"WWW-Authenticate") == b'Bearer realm="login", error="insufficient_scope"'
        assert visit(router, issuer.token(scope="shop:read shop:admin")).status == 200
        assert visit(router, issuer.token(scp=["shop:admin"])).status == 200


@pytest.mark.parametrize(
    "target",
    [
        b"/internal",
        b"/internal/x?a",
        b"/INTERNAL/x",
        b"/%69nternal/x",
        b"//internal/x",
        b"/x/..;/internal/a",
        b"/x/%2e%2e/internal/a",
        b"/internal/public/../x",
        b"/internal/health/",
        b"/internal/Health",
        b"/internal/public%2f..%2fx",
    ],
)
def test_path_is_closed_in_whatever_way_it_is_spelled(target: bytes, router: RouterProcess, blue: RawUpstream) -> None:
    assert visit(router, target=target).status == 401
    assert blue.exchanges == []


@pytest.mark.parametrize("target", [b"/", b"/other", b"/internal/health", b"/internal/public/a?b", b"/internals"])
def test_other_paths_are_open(target: bytes, router: RouterProcess) -> None:
    assert visit(router, target=target).status == 200


def test_router_s_own_health_asks_for_no_login(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    everything = toml(issuer).replace('path = ["/internal/*"]\n', "")
    with configured_router(tmp_path, blue.port, everything) as router:
        assert visit(router, target=b"/__router_health").status == 200
        assert visit(router, target=b"/any").status == 401


@pytest.mark.parametrize(
    "name", [b"X-Auth-Subject", b"x_auth_subject", b"X-Auth_Scope", b"X.AUTH.SUBJECT", b"X-Auth-Z"]
)
@pytest.mark.parametrize("target", [b"/internal/x", b"/open", b"/watched"])
def test_identity_that_a_client_claims_never_arrives(
    name: bytes, target: bytes, tmp_path: Path, blue: RawUpstream, issuer: Issuer
) -> None:
    with configured_router(tmp_path, blue.port, toml(issuer), pass_underscore_fields="true") as router:
        # Who only observes does not wait for the keys.
        wait_until(lambda: list(router.folder.glob("login_keys_*.json")), "the keys")
        forged = name + b": root\r\n" + b"Connection: " + name + b"\r\n"
        assert visit(router, issuer.token(), target=target, fields=forged + b"X-Other: 1\r\n").status == 200
    head = blue.only.head
    assert b"root" not in head.raw
    assert head.value(b"X-Other") == b"1"
    assert (head.value(b"X-Auth-Subject") == b"ada") is (target != b"/open")


@pytest.mark.parametrize("target", [b"/internal/x", b"/open"])
def test_identity_that_a_client_claims_behind_a_body_never_arrives(
    target: bytes, router: RouterProcess, blue: RawUpstream, issuer: Issuer
) -> None:
    """Some servers put trailers among the fields."""
    head = b"POST %b HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n" % target
    sent = router.ask(head + bearer(issuer.token()) + b"\r\n2\r\nab\r\n0\r\nX-Auth-Subject: root\r\nX-Sum: 1\r\n\r\n")
    assert sent.status == 200
    assert (blue.only.body, blue.only.trailers) == (b"ab", ())


def test_claim_cannot_end_its_line(router: RouterProcess, blue: RawUpstream, issuer: Issuer) -> None:
    assert visit(router, issuer.token(sub="a\r\nX-Admin: 1\ud800é")).status == 200
    assert blue.only.head.value(b"X-Auth-Subject") == b"a%0D%0AX-Admin: 1?%C3%A9"


def test_mode_observe_refuses_nobody_and_says_whom_it_would(
    router: RouterProcess, blue: RawUpstream, issuer: Issuer
) -> None:
    wait_until(lambda: list(router.folder.glob("login_keys_*.json")), "the keys, for which nobody waits")
    assert visit(router, issuer.token(aud="another"), target=b"/watched").status == 200
    assert blue.only.head.value(b"X-Auth-Subject") is None
    wait_until(lambda: "login watched would refuse (audience)" in router.log, "it in the log")


def test_websocket_is_refused_and_let_through_like_any_request(
    router: RouterProcess, blue: RawUpstream, issuer: Issuer
) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA==\r\n"
    assert visit(router, fields=upgrade).status == 401
    blue.answers(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    with router.connect() as client:
        client.send(request(target=b"/internal/x", fields=upgrade + bearer(issuer.token())))
        assert b" 101 " in client.read_head().raw
    assert blue.only.head.value(b"X-Auth-Subject") == b"ada"


# --- keys ------------------------------------------------------------------------------------------------


def test_keys_are_fetched_once_for_many_tokens(router: RouterProcess, issuer: Issuer) -> None:
    for number in range(20):
        assert visit(router, issuer.token(sub=str(number))).status == 200
    assert issuer.fetches == 1


def test_new_key_is_asked_for_once_and_an_invented_one_does_not_ask_again(
    tmp_path: Path, blue: RawUpstream, issuer: Issuer
) -> None:
    with closed(tmp_path, blue, issuer) as router:
        assert visit(router, issuer.token()).status == 200
        for number in range(20):
            assert visit(router, signed_by("RSA-2048:other", "RS256", f"invented-{number}")).status == 401
        assert issuer.fetches == 1  # the first fetch was a moment ago


def test_keys_are_kept_for_a_restart_while_the_issuer_is_down(
    tmp_path: Path, blue: RawUpstream, issuer: Issuer
) -> None:
    token = issuer.token()
    with closed(tmp_path, blue, issuer) as router:
        assert visit(router, token).status == 200
        (kept,) = router.folder.glob("login_keys_*.json")
        assert kept.stat().st_mode & 0o777 == 0o600
        issuer.server.refuse()
        router.reload()
        assert visit(router, issuer.token(sub="later")).status == 200


RUBBISH = {
    "HTML": reply(b"<!doctype html><title>Moved</title>"),
    "empty": reply(b""),
    "garbage": reply(b"\x00\xff{]"),
    "without keys": reply(b'{"keys": []}'),
    "huge": reply(b'{"keys": [' + b" " * 300_000 + b"]}"),
    "a redirect": reply(b"", b"302 Found", [(b"Location", b"http://127.0.0.1:1/jwks.json")]),
    "a short key": reply(json.dumps({"keys": [public_jwk("RSA-1024", kid="first")]}).encode()),
    "a secret": reply(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}).encode()),
    "a head that is nested": reply(b'{"keys": ' + b"[" * 100_000),
}


@pytest.mark.parametrize("what", RUBBISH)
def test_without_a_key_it_is_503_and_never_open(what: str, tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    issuer.server.answers(RUBBISH[what])
    with closed(tmp_path, blue, issuer) as router:
        answer = visit(router, issuer.token())
        assert (answer.status, answer.text) == (503, "Login unavailable")
        assert answer.value(b"Retry-After") == b"5"
        assert f"keys of {issuer.address}: " in router.log
    assert blue.exchanges == []


def test_issuer_that_hangs_keeps_nobody_for_long(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    def hang(exchange: Exchange) -> None:
        exchange.wait_for_hang_up()

    issuer.server.handler = hang
    with closed(tmp_path, blue, issuer) as router:
        began = time.monotonic()
        assert visit(router, target=b"/open").status == 200
        assert time.monotonic() - began < 2
        assert visit(router, issuer.token()).status == 503
        assert 2 < time.monotonic() - began < 12
    assert len(blue.exchanges) == 1


def test_keys_may_be_in_a_file_in_pem(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = private_key("RSA-2048").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    place = tmp_path / "keys.pem"
    place.write_bytes(pem)
    with configured_router(tmp_path, blue.port, toml(issuer).replace(issuer.address, str(place))) as router:
        assert visit(router, issuer.token()).status == 200
    assert issuer.fetches == 0


def test_secret_takes_the_place_of_keys(tmp_path: Path, blue: RawUpstream) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    login = f"""[[login]]
name = "own"
jwt = {{ issuer = "me", audience = "shop", secret = "{secret}", algorithms = ["HS256"] }}
"""
    claims = {"iss": "me", "aud": "shop", "exp": int(time.time()) + 60}
    with configured_router(tmp_path, blue.port, login) as router:
        assert visit(router, jwt.encode(claims, secret, "HS256")).status == 200
        assert visit(router, jwt.encode(claims, secret[::-1], "HS256")).status == 401


def test_without_the_library_the_router_says_what_to_install(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['jwt'] = None\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(AssertionError, match=r"pip install 'traffic-router\[jwt\]'"):
            with closed(tmp_path, blue, issuer):
                pass


def test_figures_tell_why_and_how_the_keys_are(tmp_path: Path, blue: RawUpstream, issuer: Issuer) -> None:
    with closed(tmp_path, blue, issuer) as router:
        for token in (issuer.token(), issuer.token(aud="another"), issuer.token(aud="a third")):
            visit(router, token)
        visit(router, issuer.token(iss="x"), target=b"/watched")
        router.reload()  # what the workers before have counted stays
        found = router.metrics()["logins"]
        page = visit(router, target=b"/__router_metrics?format=prometheus").text
    assert (found["passed"], found["refused"], found["would_refuse"]) == (1, {"audience": 2}, {"issuer": 1})
    assert [(one["source"], one["keys"], one["fault"]) for one in found["keys"]] == [(issuer.address, 1, None)]
    assert 'traffic_router_login_refused_total{reason="audience"} 2.0' in page
    assert f'traffic_router_login_keys{{source="{issuer.address}"}} 1.0' in page
