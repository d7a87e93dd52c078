"""Two versions in traffic: shared out as the state says, from the next request on, and counted as clients see it."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from app.metrics.shared import SharedMetrics
from app.metrics.split_arms import SplitArm
from app.state.preview_token import sign
from tests.integration.holding import request, wait_held
from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.states import pause_for, put_state
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

KEY = "key-of-this-test"
BLUE, GREEN = 0, 1
COOKIE = b"__router_split="


class Site:
    """A router whose active version is blue, with green beside it."""

    def __init__(self, router: RouterProcess, blue: RawUpstream, green: RawUpstream) -> None:
        self.router, self.blue, self.green = router, blue, green
        blue.answers(reply(b"blue"))
        green.answers(reply(b"green"))
        self.before = self.arms()

    def put(self, weight: int = 10_000, lasts_s: float = 600, active: str = "blue", **more: object) -> None:
        """Write the state; `more` are keys of the split, or of the state where there is no such key."""
        top = {key: more.pop(key) for key in ("pause", "maintenance") if key in more}
        canary = "green" if active == "blue" else "blue"
        split = {"canary": canary, "weight": weight, "until": time.time() + lasts_s, **more}
        self.put_state(active, split=split, **top)

    def put_state(self, active: str = "blue", **top: object) -> None:
        versions = {"blue": {"port": self.blue.port}, "green": {"port": self.green.port}}
        put_state(self.router.state_file, active, versions, **{"preview_key": KEY, **top})

    def ask(self, fields: bytes = b"", method: bytes = b"GET", body: bytes = b"", target: bytes = b"/r") -> Response:
        return self.router.ask(request(method, target, body, fields))

    def arms(self) -> tuple[SplitArm, SplitArm]:
        metrics = SharedMetrics.open(self.router.folder / "router_metrics.mmap")
        try:
            # A client has its answer a moment before its request is counted.
            wait_until(lambda: not metrics.in_flight("blue") + metrics.in_flight("green"), "the end of all requests")
            return metrics.split_arms()
        finally:
            metrics.close()

    def counted(self, version: int) -> tuple[int, ...]:
        """The requests of a version that were counted since the test began."""
        now, before = self.arms()[version].requests, self.before[version].requests
        return tuple(one - then for one, then in zip(now, before, strict=True))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    folder = tmp_path_factory.mktemp("split")
    settings = {"circuit_failures": 3, "health_check_interval": 0.5, "workers": 2, "forwarded_hops": 1}
    with configured_router(folder, 1, "[canary]\ntell = true\n", **settings) as router:
        yield router


@pytest.fixture
def site(running: RouterProcess) -> Iterator[Site]:
    with RawUpstream() as blue, RawUpstream() as green:
        yield Site(running, blue, green)


def take_down(version: RawUpstream) -> None:
    """Connections are refused from now on, and those that idle are gone."""
    version.refuse()
    version.hang_up()


def test_next_request_goes_where_the_weight_says(site: Site) -> None:
    for weight, version in ((10_000, b"green"), (0, b"blue"), (10_000, b"green")):
        site.put(weight)
        assert {site.ask().body for _ in range(10)} == {version}
    site.put_state()
    assert {site.ask().body for _ in range(10)} == {b"blue"}


def test_share_is_nothing_once_its_time_is_over(site: Site) -> None:
    site.put(lasts_s=1.0)
    wait_until(lambda: site.ask().body == b"blue", "the end of the share")
    assert site.ask(method=b"POST", body=b"x").body == b"blue"


def test_answers_say_which_version_they_are_from(site: Site) -> None:
    site.put(5_000)
    for _ in range(20):
        answer = site.ask()
        assert answer.value(b"X-Router-Version") == answer.body


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_requests_are_counted_where_they_went(site: Site, method: bytes) -> None:
    site.put(5_000)
    seen = Counter(site.ask(method=method, body=b"x" if method == b"POST" else b"").body for _ in range(200))
    assert 60 < seen[b"green"] < 140, "of 200 at one half"
    assert (site.counted(BLUE), site.counted(GREEN)) == ((seen[b"blue"], 0, 0, 0), (seen[b"green"], 0, 0, 0))


def test_failures_and_slow_answers_count_at_their_version(site: Site) -> None:
    site.put(slow_ms=[20.0, 500.0])

    def slowly(exchange: Exchange) -> None:
        time.sleep(0.05)
        exchange.send(reply(b"late", status=b"500 Internal Server Error"))

    site.green.handler = slowly
    assert site.ask().status == 500
    assert site.counted(GREEN) == (1, 1, 1, 0)
    assert site.counted(BLUE) == (0, 0, 0, 0)


def test_preview_is_shown_its_version_and_counts_nowhere(site: Site) -> None:
    site.put(0)
    token = sign(KEY, "green", time.time() + 600).encode()
    assert site.ask(b"X-Router-Preview: " + token + b"\r\n").body == b"green"
    site.put(10_000)
    assert site.ask(b"X-Router-Preview: " + token + b"\r\n").body == b"green"
    assert site.counted(GREEN) == (0, 0, 0, 0)


def test_what_the_canary_refuses_the_stable_version_answers_and_it_counts_as_failed(site: Site) -> None:
    site.put()
    take_down(site.green)
    for method, body in ((b"GET", b""), (b"POST", b"order")):
        assert site.ask(method=method, body=body).body == b"blue"
    assert [exchange.read_body() for exchange in site.blue.exchanges] == [b"", b"order"]
    assert site.counted(GREEN) == (2, 2, 0, 0)
    assert site.counted(BLUE) == (0, 0, 0, 0)


def test_what_the_canary_may_have_executed_is_not_repeated(site: Site) -> None:
    site.put()
    site.green.handler = lambda exchange: exchange.reset()
    assert site.ask(method=b"POST", body=b"order").status == 502
    assert site.blue.exchanges == []
    assert site.ask().body == b"blue"
    assert site.counted(GREEN) == (2, 2, 0, 0)


def test_canary_that_is_down_has_no_share_until_it_is_well(site: Site) -> None:
    site.put()
    take_down(site.green)
    for _ in range(12):  # three failures in a row in each worker
        assert site.ask().body == b"blue"
    failed = site.counted(GREEN)[1]
    assert failed < 12
    assert {site.ask().body for _ in range(10)} == {b"blue"}
    assert site.counted(GREEN)[1] <= failed + 2
    with RawUpstream(site.green.port) as again:
        again.answers(reply(b"green"))
        wait_until(lambda: {site.ask().body for _ in range(8)} == {b"green"}, "its share again")


def test_put_off_end_leaves_what_is_known_of_the_canary(site: Site) -> None:
    site.put()
    take_down(site.green)
    for _ in range(12):
        site.ask()
    failed = site.counted(GREEN)[1]
    for lasts_s in (601, 602, 603, 604):
        site.put(lasts_s=lasts_s)
        assert site.ask().body == b"blue"
    assert site.counted(GREEN)[1] <= failed + 2, "its circuit stays open"


def test_canary_in_state_stopping_has_no_share(site: Site) -> None:
    split = {"canary": "green", "weight": 10_000, "until": time.time() + 600}
    for status, body in (("running", b"green"), ("stopping", b"blue"), ("starting", b"blue"), ("stopped", b"blue")):
        green = {"port": site.green.port, "status": status, "started_at": 1.0}
        put_state(site.router.state_file, "blue", {"blue": {"port": site.blue.port}, "green": green}, split=split)
        assert site.ask().body == body


def test_pause_and_maintenance_come_before_the_share(site: Site) -> None:
    site.put(maintenance={"since": time.time()})
    assert site.ask().status == 503
    site.put(maintenance={"since": time.time(), "allow": ["127.0.0.1"]})
    assert site.ask().body == b"blue"
    assert site.counted(BLUE) == site.counted(GREEN) == (0, 0, 0, 0)
    site.put(pause=pause_for(30))
    with site.router.connect() as client:
        client.send(request(b"GET", b"/held"))
        wait_held(site.router, 1)
        site.put()
        assert client.read_response().body == b"green"


class TestSticky:
    """Clients that stay where they are."""

    def test_client_only_moves_to_the_canary_while_the_weight_rises(self, site: Site) -> None:
        clients = [b"10.1.%d.7" % number for number in range(60)]
        on_canary: set[bytes] = set()
        for weight in (500, 2_500, 5_000, 9_000):
            site.put(weight, sticky="client", salt="r1")
            for _ in range(2):
                now = {one for one in clients if site.ask(b"X-Forwarded-For: " + one + b"\r\n").body == b"green"}
                assert on_canary <= now
                on_canary = now
        assert 40 <= len(on_canary) < 60
        site.put(5_000, sticky="client", salt="r2")
        again = {one for one in clients if site.ask(b"X-Forwarded-For: " + one + b"\r\n").body == b"green"}
        assert again - on_canary, "with another salt others are the first"

    def test_clients_are_told_apart_by_a_field(self, site: Site) -> None:
        site.put(5_000, sticky="header:X-User", salt="r1")
        for number in range(20):
            assert len({site.ask(b"X-User: %d\r\n" % number).body for _ in range(3)}) == 1

    def test_client_counts_once_with_all_its_failures(self, site: Site) -> None:
        site.put(sticky="header:X-User", salt=str(time.time()))
        site.green.answers(reply(b"", status=b"500 Internal Server Error"))
        before = site.arms()[GREEN].clients
        for user in (b"a", b"b"):
            for _ in range(5):
                site.ask(b"X-User: " + user + b"\r\n")
        now = site.arms()[GREEN].clients
        assert (now.completed - before.completed, now.failed - before.failed) == (2, 2)
        assert site.counted(GREEN) == (10, 10, 0, 0)

    def test_cookie_keeps_a_client_and_no_application_sees_it(self, site: Site) -> None:
        site.put(5_000, sticky="cookie", salt="r1")
        for _ in range(10):
            first = site.ask()
            said = first.value(b"Set-Cookie") or b""
            value, *attributes = said.split(b"; ")
            assert value.startswith(COOKIE)
            assert len(value) == len(COOKIE) + 32
            assert {b"HttpOnly", b"SameSite=Lax", b"Path=/", b"Max-Age=86400"} == set(attributes)
            assert first.value(b"Cache-Control") == b"private"
            for fields in (b"Cookie: a=1; %b; b=2\r\n" % value, b"Cookie: %b\r\n" % value):
                again = site.ask(fields)
                assert again.body == first.body
                assert again.value(b"Set-Cookie") is None
        heads = [exchange.head for exchange in (*site.blue.exchanges, *site.green.exchanges)]
        assert not any(b"router_split" in head.raw for head in heads)
        assert sum(head.value(b"Cookie") == b"a=1; b=2" for head in heads) == 10

    def test_cookie_is_for_https_alone_where_the_client_came_by_that(self, site: Site) -> None:
        site.put(5_000, sticky="cookie")
        assert (site.ask(b"X-Forwarded-Proto: https\r\n").value(b"Set-Cookie") or b"").endswith(b"; Secure")

    @pytest.mark.parametrize(
        ("said", "is_set"),
        [
            ((b"Cache-Control", b"private, max-age=5"), True),
            ((b"Cache-Control", b"no-store"), True),
            ((b"Cache-Control", b"public, max-age=60"), False),
            ((b"Cache-Control", b"no-cache"), False),
            ((b"Expires", b"Thu, 01 Jan 2099 00:00:00 GMT"), False),
        ],
    )
    def test_no_cookie_on_what_a_shared_cache_may_store(
        self, site: Site, said: tuple[bytes, bytes], is_set: bool
    ) -> None:
        site.put(sticky="cookie")
        site.green.answers(reply(b"green", fields=[said]))
        answer = site.ask()
        assert (answer.value(b"Set-Cookie") is not None) == is_set
        assert answer.head.values(said[0]) == [said[1]]

    def test_cookie_of_a_split_that_has_ended_is_taken_off_for_as_long_as_it_lives(self, site: Site) -> None:
        site.put_state(split_cookies_until=time.time() + 60)
        answer = site.ask(b"Cookie: %b%b; b=2\r\n" % (COOKIE, b"0" * 32))
        assert answer.value(b"Set-Cookie") is None
        assert site.blue.only.head.values(b"Cookie") == [b"b=2"]

    def test_cookie_that_we_did_not_make_is_replaced(self, site: Site) -> None:
        site.put(5_000, sticky="cookie")
        answer = site.ask(b"Cookie: %bme\r\n" % COOKIE)
        assert (answer.value(b"Set-Cookie") or b"").startswith(COOKIE)


def test_figures_outlive_a_worker(site: Site) -> None:
    site.put()
    for _ in range(20):
        site.ask()
    victim = site.router.worker_pids[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids := site.router.worker_pids) == 2 and victim not in pids, "another worker")
    for _ in range(20):
        assert site.ask().body == b"green"
    assert site.counted(GREEN) == (40, 0, 0, 0)


def test_upgraded_connection_goes_to_the_canary_and_is_left_there(site: Site) -> None:
    site.put()

    def upgrade(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        exchange.wait_for_hang_up()

    site.green.handler = upgrade
    with site.router.connect() as client:
        client.send(request(b"GET", b"/up", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        assert client.read_head().value(b"X-Router-Version") == b"green"
        client.wire.read_exactly(len(b"hello"))
        assert not client.has_bytes(within_s=2.0), "the worker looks after its streams once a second"
    wait_until(lambda: site.counted(GREEN) == (1, 0, 0, 0), "its end")
