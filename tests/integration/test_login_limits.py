"""`[[limit]]` by a claim of a `[[login]]`: what each subject may, whichever token shows it, at whichever worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.integration.holding import request
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, bearer
from tests.support.raw_client import Response
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

LOGIN = """
[[login]]
name = "api"
path = ["/api/*"]
jwt = {{ issuer = "{issuer}", audience = "{audience}", jwks = "{jwks}", algorithms = ["RS256"] }}
"""

LIMITS = {
    "rate": ('path = ["/api/rate", "/open"]', 'key = "jwt:sub"', 'rate = "4/h"'),
    "any": ('path = ["/api/any"]', 'key = ["path", "jwt:who"]', 'rate = "1/h"'),
    "flight": ('path = ["/api/flight"]', 'key = "jwt:sub"', "in_flight = 2"),
    "delay": ('path = ["/api/delay"]', 'key = "jwt:sub"', 'rate = "5/s"', "burst = 1", 'delay = "5s"'),
}


class Scene(NamedTuple):
    router: RouterProcess
    issuer: Issuer
    upstream: RawUpstream

    def visit(self, path: str, token: str = "", fields: bytes = b"") -> Response:
        """On a connection of its own, so that any worker may have it."""
        return self.router.ask(request(target=path.encode(), fields=fields + (bearer(token) if token else b"")))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A router of four workers; each test has a limit and subjects of its own."""
    with Issuer() as issuer, RawUpstream() as upstream:
        toml = LOGIN.format(issuer=ISSUER, audience=AUDIENCE, jwks=issuer.address)
        toml += "".join("\n".join(("[[limit]]", f'name = "{name}"', *lines, "")) for name, lines in LIMITS.items())
        with configured_router(tmp_path_factory.mktemp("site"), upstream.port, toml, workers=4) as router:
            yield Scene(router, issuer, upstream)


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.upstream.answers(reply(b"blue"))
    return shared


def test_each_subject_has_its_own_allowance_whatever_its_tokens(scene: Scene) -> None:
    tokens = [scene.issuer.token(jti=str(number)) for number in range(6)]
    forged = tokens[0].rpartition(".")[0] + ".AAAA"

    assert [scene.visit("/api/rate", forged).status for _ in range(5)] == [401] * 5, "ada has lost nothing by them"
    assert [scene.visit("/api/rate", token).status for token in tokens] == [200] * 4 + [429] * 2
    claimed = [scene.visit("/api/rate", scene.issuer.token(sub="eve"), b"X-Auth-Subject: ada\r\n") for _ in range(5)]
    assert [answer.status for answer in claimed] == [200] * 4 + [429]

    assert scene.visit("/api/rate", tokens[0]).value(b"RateLimit-Policy") == b'"rate";q=4;w=3600'
    last_refused = str(scene.router.metrics()["last_refused"])
    assert "jwt:sub #" in last_refused
    assert "ada" not in last_refused and "eve" not in last_refused, "who it is may be secret"


def test_where_no_login_is_asked_for_the_client_is_counted(scene: Scene) -> None:
    token = scene.issuer.token(sub="ben")
    assert [scene.visit("/open", token).status for _ in range(5)] == [200] * 4 + [429]
    assert scene.visit("/api/rate", token).status == 200, "a token counts where it was verified"
    assert scene.visit("/api/rate", scene.issuer.token(sub="127.0.0.1")).status == 200, "that is no client's name"


@pytest.mark.parametrize("claim", [7, ["a"], {"a": 1}, "a\ud800", "", "x" * 8000], ids=lambda claim: str(claim)[:8])
def test_claim_of_any_form_is_a_key(claim: object, scene: Scene) -> None:
    token = scene.issuer.token(who=claim)
    assert [scene.visit("/api/any", token).status for _ in range(2)] == [200, 429]


def test_subject_has_so_many_in_flight_and_another_is_not_held_up(scene: Scene) -> None:
    go = threading.Event()
    scene.upstream.answers(reply(b"blue"), after=go)
    before = len(scene.upstream.exchanges)
    with ThreadPoolExecutor(3) as pool:
        first = [pool.submit(scene.visit, "/api/flight", scene.issuer.token(jti=str(number))) for number in range(2)]
        wait_until(lambda: len(scene.upstream.exchanges) == before + 2, "two to be in flight")
        refused = scene.visit("/api/flight", scene.issuer.token())
        other = pool.submit(scene.visit, "/api/flight", scene.issuer.token(sub="eve"))
        wait_until(lambda: len(scene.upstream.exchanges) == before + 3, "the other subject's request")
        go.set()
        assert refused.status == 429
        assert [one.result().status for one in (*first, other)] == [200] * 3
    wait_until(lambda: scene.visit("/api/flight", scene.issuer.token()).status == 200, "room again")


def test_delayed_request_goes_with_the_login_that_it_came_with(scene: Scene) -> None:
    """It is judged once, though it is asked for again when its turn has come."""
    before = len(scene.upstream.exchanges)
    with ThreadPoolExecutor(4) as pool:
        tokens = [scene.issuer.token(sub="late", jti=str(number)) for number in range(4)]
        found = list(pool.map(lambda token: scene.visit("/api/delay", token), tokens))
    assert [answer.status for answer in found] == [200] * 4
    subjects = [exchange.head.values(b"X-Auth-Subject") for exchange in scene.upstream.exchanges[before:]]
    assert subjects == [[b"late"]] * 4
