"""Maintenance: a page for everybody, health for balancers, and the application for those whom the operator names."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.holding import GET, health, request
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, free_port
from tests.support.states import pause_for, put_state
from tests.support.waiting import wait_until

MESSAGE = "Back at <noon>, sorry"


def maintain(pair: Pair, *, port: int = 0, pause: object = None, **details: object) -> None:
    """Turn maintenance on; blue is on `port`, or where it was."""
    router, upstream = pair
    blue = {"blue": {"port": port or upstream.port}}
    put_state(router.state_file, "blue", blue, pause=pause, maintenance={"since": time.time(), **details})


@pytest.fixture
def closed(pair: Pair) -> Iterator[Pair]:
    """The router in maintenance, with a message and a time; 127.0.0.9 and 127.0.1.0/24 may pass."""
    maintain(pair, message=MESSAGE, retry_after_s=77, allow=["127.0.0.9", "127.0.1.0/24"])
    yield pair
    pair[0].set_state("blue", blue=pair[1].port)


def test_client_is_answered_503_and_the_application_not_asked(closed: Pair) -> None:
    router, upstream = closed
    with router.connect() as client:
        for _ in range(2):
            answer = client.ask(GET)
            assert (answer.status, answer.text) == (503, MESSAGE)
            assert answer.value(b"X-Router-Cause") == b"maintenance"
            assert answer.value(b"Retry-After") == b"77"
            assert answer.value(b"Cache-Control") == b"no-store"
    assert upstream.exchanges == []


def test_without_details_it_says_the_usual(pair: Pair) -> None:
    maintain(pair)
    try:
        answer = pair[0].ask(GET)
    finally:
        pair[0].set_state("blue", blue=pair[1].port)
    assert (answer.text, answer.value(b"Retry-After")) == ("Down for maintenance", b"120")


def test_browser_gets_a_page_with_the_message_escaped(closed: Pair) -> None:
    answer = closed[0].ask(request(fields=b"Accept: text/html\r\n"))
    assert answer.value(b"Content-Type") == b"text/html; charset=utf-8"
    assert "Back at &lt;noon&gt;, sorry" in answer.text
    assert "<noon>" not in answer.text


def test_program_gets_json(closed: Pair) -> None:
    found = json.loads(closed[0].ask(request(fields=b"Accept: application/json\r\n")).body)
    assert (found["error"], found["cause"]) == (MESSAGE, "maintenance")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("target", [b"/health", b"/health?from=balancer"])
def test_health_path_is_200_for_balancers(closed: Pair, method: bytes, target: bytes) -> None:
    router, upstream = closed
    answer = router.ask(request(method, target))
    assert (answer.status, answer.body) == (200, b"ok" if method == b"GET" else b"")
    assert upstream.exchanges == []


def test_router_is_healthy_even_while_the_version_is_down(farm: RouterFarm) -> None:
    pair = farm.get(health_check_interval=0.2)
    router, upstream = pair
    port = free_port()
    router.set_state("blue", blue=port)
    try:
        wait_until(lambda: health(router)["status"] == "unhealthy", "a failed health check")
        maintain(pair, port=port, message="m")
        found = health(router)
        assert (found["status"], found["traffic"]["mode"]) == ("healthy", "maintenance")
        assert found["traffic"]["maintenance"]["message"] == "m"
    finally:
        router.set_state("blue", blue=upstream.port)


@pytest.mark.parametrize("source", ["127.0.0.9", "127.0.1.200"])
def test_named_address_passes(closed: Pair, source: str) -> None:
    router, upstream = closed
    upstream.answers(reply(b"application"))
    with router.connect(source=source) as client:
        assert client.ask(GET).body == b"application"
        assert client.ask(request(target=b"/health-of-mine")).body == b"application"
    assert router.ask(GET).status == 503


def test_address_behind_a_trusted_proxy_passes_and_a_claimed_one_does_not(farm: RouterFarm, closed: Pair) -> None:
    forged = request(fields=b"X-Forwarded-For: 127.0.0.9\r\n")
    assert closed[0].ask(forged).status == 503
    trusting = farm.get(forwarded_hops=1)
    maintain(trusting, allow=["192.0.2.0/24"])
    try:
        assert trusting[0].ask(request(fields=b"X-Forwarded-For: 192.0.2.7\r\n")).status == 200
        assert trusting[0].ask(request(fields=b"X-Forwarded-For: 192.0.3.7\r\n")).status == 503
        assert trusting[0].ask(request(fields=b"X-Forwarded-For: unknown\r\n")).status == 503
    finally:
        trusting[0].set_state("blue", blue=trusting[1].port)


def test_named_address_waits_in_a_pause_like_everybody(pair: Pair) -> None:
    router, upstream = pair
    maintain(pair, pause=pause_for(60), allow=["127.0.0.9"])
    with router.connect(source="127.0.0.9") as client:
        client.send(GET)
        wait_until(lambda: health(router)["traffic"]["held"] == 1, "held")
        assert upstream.exchanges == []
        maintain(pair, allow=["127.0.0.9"])
        assert client.read_response().status == 200
    router.set_state("blue", blue=upstream.port)


def test_request_that_waits_when_maintenance_begins_is_told_so(pair: Pair) -> None:
    router, upstream = pair
    put_state(router.state_file, "blue", {"blue": {"port": upstream.port}}, pause=pause_for(60))
    with router.connect() as client:
        client.send(GET)
        wait_until(lambda: health(router)["traffic"]["held"] == 1, "held")
        maintain(pair)
        assert client.read_response().value(b"X-Router-Cause") == b"maintenance"
    router.set_state("blue", blue=upstream.port)


def test_traffic_flows_again_with_the_next_request(closed: Pair) -> None:
    router, upstream = closed
    with router.connect() as client:
        assert client.ask(GET).status == 503
        router.set_state("blue", blue=upstream.port)
        assert client.ask(GET).status == 200


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the operator's page is, or is not."""
    return tmp_path_factory.mktemp("page") / "page.html"


class TestOwnPage:
    """`maintenance_page`"""

    @pytest.fixture
    def own(self, farm: RouterFarm, template: Path) -> Iterator[tuple[RouterProcess, RawUpstream]]:
        pair = farm.get(maintenance_page=str(template))
        maintain(pair, message=MESSAGE, retry_after_s=9)
        yield pair
        pair[0].set_state("blue", blue=pair[1].port)

    def ask(self, router: RouterProcess) -> str:
        """What a browser is shown."""
        return router.ask(request(fields=b"Accept: text/html\r\nX-Request-ID: id-7\r\n")).text

    def test_template_is_filled_in(self, own: Pair, template: Path) -> None:
        template.write_text("<style>a{}</style><p>{{message}}/{{retry_after}}/{{request_id}}/{{other}} ä")
        assert self.ask(own[0]) == "<style>a{}</style><p>Back at &lt;noon&gt;, sorry/9/id-7/{{other}} ä"

    def test_changed_template_is_shown(self, own: Pair, template: Path) -> None:
        template.write_text("first")
        assert self.ask(own[0]) == "first"
        template.write_text("another")
        assert self.ask(own[0]) == "another"

    def test_curl_gets_text_all_the_same(self, own: Pair, template: Path) -> None:
        template.write_text("page")
        assert own[0].ask(GET).text == MESSAGE

    @pytest.mark.parametrize("content", [None, b"\xff\xfe", bytes(1 << 21)], ids=["missing", "not-text", "huge"])
    def test_unusable_template_is_told_once_and_ours_shown(
        self, own: Pair, template: Path, content: bytes | None
    ) -> None:
        template.write_text("good")
        assert self.ask(own[0]) == "good"
        told = own[0].log.count("cannot be used")
        template.unlink()
        if content is not None:
            template.write_bytes(content)
        assert ["Back at &lt;noon&gt;" in self.ask(own[0]) for _ in range(3)] == [True] * 3
        assert own[0].log.count("cannot be used") == told + 1
