"""The keys of an issuer through a router of several workers: they rotate, the issuer is down, or has a private CA.

What is stated in minutes and hours is tried in seconds: these routers run a copy of the sources with shorter times.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.holding import request
from tests.support.authority import Authority, served_over_https
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, bearer, public_jwk
from tests.support.raw_client import Response
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT, RouterProcess, configured_router, running_router
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

WORKERS = 4

ASK_AGAIN_S, FRESH_S, USED_S = 0.5, 2.0, 5.0
LATE_S = 1.0
"""So much later than said, at most, in which a busy machine gets round to it."""

SHORTER = {
    "key_source.py": {"ASK_AGAIN_S": ASK_AGAIN_S, "FRESH_S": FRESH_S, "USED_S": USED_S},
    "remembered.py": {"REMEMBERED_S": 1.0},
    "logins.py": {"_LOOK_S": 0.2},
}

LOGIN = """
[[login]]
name = "{name}"
path = ["/{name}/*"]
jwt = {{ issuer = "{issuer}", audience = "{audience}", jwks = "{jwks}", algorithms = ["RS256", "ES256"]{more} }}
"""


def login(jwks: str, more: str = "", name: str = "internal") -> str:
    return LOGIN.format(name=name, issuer=ISSUER, audience=AUDIENCE, jwks=jwks, more=more)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@contextmanager
def quicker_router(folder: Path, upstream_port: int, toml: str) -> Iterator[RouterProcess]:
    """A router of four workers for which the times of keys are shorter."""
    project = folder / "project"
    shutil.copytree(ROOT / "app", project / "app", ignore=shutil.ignore_patterns("__pycache__", "build"))
    shutil.copy(ROOT / "gunicorn.conf.py", project)
    for name, times in SHORTER.items():
        file = project / "app" / "logins" / name
        text = file.read_text()
        for constant, seconds in times.items():
            text, found = re.subn(rf"^{constant} = [\d_.]+$", f"{constant} = {seconds}", text, flags=re.MULTILINE)
            assert found == 1, constant
        file.write_text(text)
    (project / "traffic_router.toml").write_text(toml)
    with running_router(folder / "router", upstream_port, root=project, workers=WORKERS) as router:
        yield router


def visit(router: RouterProcess, token: str, login: str = "internal") -> Response:
    """On a connection of its own, so that any worker may have it."""
    return router.ask(request(target=f"/{login}/x".encode(), fields=bearer(token)))


class Seen(NamedTuple):
    at: float
    key_id: str
    status: int


class Visitors:
    """Clients that ask without pause, each time with a token of its own, signed with one of the keys of `signed`."""

    def __init__(self, router: RouterProcess, signed: dict[str, Callable[[str], str]]) -> None:
        self.signed = signed
        self.seen: list[Seen] = []
        self._router = router
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, thread: int) -> None:
        number = 0
        while not self._end.wait(0.02):
            for key_id, sign in list(self.signed.items()):
                number += 1
                at = time.monotonic()
                self.seen.append(Seen(at, key_id, visit(self._router, sign(f"{thread}-{number}")).status))

    def statuses(self, key_id: str, since: float, until: float = float("inf")) -> set[int]:
        """What requests were answered that began in this while."""
        return {one.status for one in self.seen if one.key_id == key_id and since <= one.at < until}

    def wait(self, until: float) -> None:
        wait_until(lambda: time.monotonic() >= until, "that time", until - time.monotonic() + 30)


def signer(issuer: Issuer, key_id: str, kind: str) -> Callable[[str], str]:
    """Signs with that key for ever, whatever the issuer signs with later."""
    frozen = Issuer.__new__(Issuer)
    frozen.key_id, frozen.kind = key_id, kind
    return lambda subject: frozen.token(sub=subject)


def test_rotation_refuses_no_good_token_and_ends_the_old_ones(
    tmp_path: Path, blue: RawUpstream, issuer: Issuer
) -> None:
    first, second = signer(issuer, "first", "RSA-2048"), signer(issuer, "second", "P-256")
    invented = signer(issuer, "invented", "P-256:other")
    with quicker_router(tmp_path, blue.port, login(issuer.address)) as router:
        visit(router, first("warm"))
        with Visitors(router, {"first": first, "invented": invented}) as visitors:
            began = time.monotonic()
            visitors.wait(began + 1)
            fetched_before = issuer.fetches
            issuer.rotate("second")
            issuer.publish(public_jwk("RSA-2048", kid="first", alg="RS256"))
            rotated = time.monotonic()
            visitors.signed["second"] = second
            visitors.wait(rotated + FRESH_S)

            issuer.publish()  # without the first
            withdrawn = time.monotonic()
            visitors.wait(withdrawn + FRESH_S + LATE_S + 1)
            ended = time.monotonic()
            fetches = issuer.fetches - fetched_before

    assert visitors.statuses("first", began, withdrawn) == {200}
    assert visitors.statuses("second", rotated + ASK_AGAIN_S + LATE_S) == {200}
    assert visitors.statuses("first", withdrawn + FRESH_S + LATE_S) == {401}
    assert visitors.statuses("invented", began) == {401}
    assert fetches <= WORKERS * (1 + (ended - rotated) / ASK_AGAIN_S)


def test_keys_are_used_through_an_outage_and_not_past_their_time(
    tmp_path: Path, blue: RawUpstream, issuer: Issuer
) -> None:
    good = signer(issuer, "first", "RSA-2048")
    with quicker_router(tmp_path, blue.port, login(issuer.address)) as router:
        visit(router, good("warm"))
        with Visitors(router, {"first": good}) as visitors:
            began = time.monotonic()
            port = issuer.server.port
            issuer.server.refuse()
            visitors.wait(began + USED_S + LATE_S + 0.5)
            back = time.monotonic()
            with RawUpstream(port) as server:
                server.handler = issuer.server.handler
                visitors.wait(back + ASK_AGAIN_S + LATE_S + 0.5)
                fetches = len(server.exchanges)

    assert visitors.statuses("first", began, began + USED_S - FRESH_S) == {200}
    assert visitors.statuses("first", began + USED_S + LATE_S, back) == {503}
    assert visitors.statuses("first", back + ASK_AGAIN_S + LATE_S) == {200}
    assert 1 <= fetches <= 2 * WORKERS
    assert f"keys of {issuer.address}: Connection refused" in router.log
    assert f"keys of {issuer.address}: fetched again" in router.log


# --- an authority of one's own ---------------------------------------------------------------------------

OUTCOMES = {"ours": 200, "theirs": 503, "missing": 503, "": 503}
"""What a token gets by the authority that is named for its issuer, whose certificate is of ours."""


def test_issuer_s_certificate_is_of_the_authority_that_is_named(
    tmp_path: Path, blue: RawUpstream, issuer: Issuer
) -> None:
    ours, _ = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    with (
        served_over_https(issuer.published, ours.server_context("127.0.0.1")) as port,
        served_over_https(issuer.published, ours.server_context("127.0.0.2")) as other,
    ):
        toml = "".join(
            login(f"https://127.0.0.1:{port}/{name}", f', ca = "{tmp_path}/{name}.pem"' if name else "", name or "none")
            for name in OUTCOMES
        )
        toml += login(f"https://127.0.0.1:{other}/", f', ca = "{ours.file}"', "another-host")
        with configured_router(tmp_path, blue.port, toml) as router:
            found = {name: visit(router, issuer.token(), name or "none").status for name in OUTCOMES}
            assert visit(router, issuer.token(), "another-host").status == 503
            assert found == OUTCOMES
            for place in (f"{port}/theirs", f"{port}/", f"{other}/"):
                assert re.search(f"keys of https://127.0.0.1:{place}: .*certificate verify failed", router.log), place
            assert f"keys of https://127.0.0.1:{port}/ours: " not in router.log
