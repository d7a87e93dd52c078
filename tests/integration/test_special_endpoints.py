"""The router's own endpoints, and that metrics and access log tell exactly what went over the wire."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm, running_pair
from tests.support.router_process import RouterProcess, free_port, write_state
from tests.support.waiting import wait_until
from tests.support.wire import Truncated

HOST = b"Host: x.test\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"

ROUTER_SETTINGS = {"health_check_interval": 0.2, "read_timeout": 1}

DOCUMENTED = {
    "total_requests": int,
    "successful_requests": int,
    "failed_requests": int,
    "success_rate": float,
    "bytes_proxied": int,
    "avg_request_time_ms": float,
    "version_requests": dict,
}


def own(path: bytes, *fields: bytes, method: bytes = b"GET") -> bytes:
    """A request for one of the router's own paths."""
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"".join(fields) + b"\r\n"


def health(router: RouterProcess) -> tuple[int, dict[str, object]]:
    """Status and JSON of the health endpoint."""
    answer = router.ask(own(b"/__router_health"))
    assert answer.value(b"Content-Type") == b"application/json"
    found: dict[str, object] = json.loads(answer.body)
    return answer.status, found


def counters(router: RouterProcess) -> dict[str, int]:
    """The documented counters as numbers, the versions' beside them."""
    found = router.metrics()
    numbers = {name: int(str(found[name])) for name, kind in DOCUMENTED.items() if kind is int}
    versions = found["version_requests"]
    assert isinstance(versions, dict)
    return numbers | versions


def grown(router: RouterProcess, before: dict[str, int], **expected: int) -> None:
    """Wait until exactly these counters have grown by exactly so much since `before`."""

    def difference() -> dict[str, int]:
        now = counters(router)
        return {name: now[name] - before[name] for name in before if now[name] != before[name]}

    wait_until(lambda: difference() == expected, f"growth by {expected}, now {difference()}", 5)


class TestHealth:
    """`/__router_health`"""

    def test_documented_fields_while_traffic_can_flow(self, router: RouterProcess, upstream: RawUpstream) -> None:
        wait_until(lambda: health(router)[0] == 200, "healthy")
        _, found = health(router)
        assert found["status"] == "healthy"
        assert found["active_port"] == upstream.port
        assert found["active_version"] == "blue"

    def test_backend_tells_of_the_last_health_check(self, router: RouterProcess, upstream: RawUpstream) -> None:
        def backend() -> object:
            return health(router)[1]["backend"]

        found = wait_until(backend, "a health check")
        assert isinstance(found, dict)
        assert (found["ok"], found["status"]) == (True, 200)

    def test_check_from_before_a_switch_does_not_speak_for_the_new_version(self, farm: RouterFarm) -> None:
        """A balancer that asks right after a deploy must not take the router out."""
        router, upstream = farm.get(health_check_interval=60)
        router.set_state("green", green=free_port())
        wait_until(lambda: health(router)[0] == 503, "the failed check")
        state = {"active_version": "green", "switched_at": time.time(), "versions": {"green": {"port": upstream.port}}}
        draft = router.state_file.with_suffix(".tmp")
        draft.write_text(json.dumps(state))
        draft.replace(router.state_file)
        assert health(router)[0] == 200

    def test_failing_health_check_shows_in_backend(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.probe_answer = reply(b"sick", b"500 Internal Server Error", [(b"Connection", b"close")])

        def is_failing() -> bool:
            found = health(router)[1]["backend"]
            return isinstance(found, dict) and found["ok"] is False and found["status"] == 500

        wait_until(is_failing, "the failed check in health")

    def test_dead_active_version_is_unhealthy_with_a_reason(self, router: RouterProcess, upstream: RawUpstream) -> None:
        router.set_state("blue", blue=free_port())
        try:
            wait_until(lambda: health(router)[0] == 503, "unhealthy")
            _, found = health(router)
        finally:
            router.set_state("blue", blue=upstream.port)
        assert found["status"] == "unhealthy"
        assert found["reason"]

    def test_without_active_version_it_is_unhealthy_with_a_reason(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        router.set_state(None)
        try:
            status, found = health(router)
        finally:
            router.set_state("blue", blue=upstream.port)
        assert (status, found["status"], found["active_port"]) == (503, "unhealthy", None)
        assert found["reason"]

    def test_head_has_no_body(self, router: RouterProcess, upstream: RawUpstream) -> None:
        wait_until(lambda: health(router)[0] == 200, "healthy")
        answer = router.ask(own(b"/__router_health", method=b"HEAD"))
        assert (answer.status, answer.framing) == (200, "none")

    def test_query_does_not_matter(self, router: RouterProcess, upstream: RawUpstream) -> None:
        assert router.ask(own(b"/__router_health?x=1")).value(b"Content-Type") == b"application/json"


class TestOwnPaths:
    """Which paths are the router's own, and what they are not."""

    @pytest.mark.parametrize("path", [b"/__router_health", b"/__router_metrics", b"/monitoring"])
    def test_own_endpoint_never_reaches_the_upstream(
        self, router: RouterProcess, upstream: RawUpstream, path: bytes
    ) -> None:
        wait_until(lambda: health(router)[0] == 200, "healthy")
        assert router.ask(own(path)).status == 200
        assert upstream.exchanges == []

    @pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD"])
    @pytest.mark.parametrize("path", [b"/__router_healthy", b"/__router_", b"/__router_health/x"])
    def test_unknown_path_under_the_routers_prefix_is_404(
        self, router: RouterProcess, upstream: RawUpstream, path: bytes, method: bytes
    ) -> None:
        answer = router.ask(own(path, b"Content-Length: 0\r\n", method=method))
        assert (answer.status, answer.value(b"Cache-Control")) == (404, b"no-store")
        assert upstream.exchanges == []

    @pytest.mark.parametrize(
        "framing",
        [
            pytest.param(b"Content-Length: %(length)d\r\n\r\n%(hidden)s", id="length"),
            pytest.param(b"Transfer-Encoding: chunked\r\n\r\n%(length)x\r\n%(hidden)s\r\n0\r\n\r\n", id="chunked"),
        ],
    )
    @pytest.mark.parametrize("method", [b"GET", b"POST"])
    def test_body_sent_to_an_own_endpoint_is_not_read_as_a_request(
        self, router: RouterProcess, upstream: RawUpstream, method: bytes, framing: bytes
    ) -> None:
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x.test\r\n\r\n"
        head, _, body = (framing % {b"length": len(hidden), b"hidden": hidden}).partition(b"\r\n\r\n")
        with router.connect() as client:
            first = client.ask(method + b" /__router_health HTTP/1.1\r\n" + HOST + head + b"\r\n\r\n")
            client.send(body)
            if first.value(b"Connection") == b"close":
                client.how_it_ends()
            else:
                assert client.ask(GET).body == b"ok"
        router.ask(GET)
        assert b"/hidden" not in [exchange.target for exchange in upstream.exchanges]

    @pytest.mark.parametrize(
        "path",
        [
            b"/__debug__/",
            b"/__x",
            b"/_router_health",
            b"//__router_health",
            b"/a/__router_health",
            b"/monitor",
            b"/monitoring/",
            b"/monitoring/x",
        ],
    )
    def test_similar_path_belongs_to_the_application(
        self, router: RouterProcess, upstream: RawUpstream, path: bytes
    ) -> None:
        router.ask(own(path))
        assert upstream.only.target == path

    def test_monitoring_is_a_page(self, router: RouterProcess, upstream: RawUpstream) -> None:
        answer = router.ask(own(b"/monitoring"))
        assert (answer.value(b"Content-Type") or b"").startswith(b"text/html")

    @pytest.mark.parametrize("method", [b"POST", b"DELETE", b"PROPFIND"])
    @pytest.mark.parametrize("path", [b"/__router_health", b"/monitoring", b"/monitoring?a"])
    def test_other_methods_are_405_with_allow(
        self, router: RouterProcess, upstream: RawUpstream, method: bytes, path: bytes
    ) -> None:
        answer = router.ask(own(path, b"Content-Length: 0\r\n", method=method))
        assert answer.status == 405
        assert b"GET" in (answer.value(b"Allow") or b"")
        assert upstream.exchanges == []

    def test_connection_is_kept_and_in_step(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.send(own(b"/__router_health") + GET + own(b"/__router_metrics") + GET)
            bodies = [client.read_response().body for _ in range(4)]
        assert (bodies[1], bodies[3]) == (b"ok", b"ok")


class TestMetrics:
    """`/__router_metrics`"""

    def test_documented_fields_have_their_types(self, router: RouterProcess, upstream: RawUpstream) -> None:
        router.ask(GET)
        found = router.metrics()
        for name, kind in DOCUMENTED.items():
            assert isinstance(found[name], kind), name
        versions = found["version_requests"]
        assert isinstance(versions, dict)
        assert set(versions) == {"blue", "green"}

    def test_disabled_metrics_are_404(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(metrics_enabled=False)
        assert router.ask(own(b"/__router_metrics")).status == 404
        assert upstream.exchanges == []

    def test_bodies_are_counted_to_the_byte_in_both_directions(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.answers(reply(bytes(70_000)))
        before = counters(router)
        router.ask(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 3000\r\n\r\n", bytes(3000))
        grown(router, before, total_requests=1, successful_requests=1, bytes_proxied=73_000, blue=1)

    def test_chunk_framing_and_heads_are_not_counted_as_bytes(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        chunked = b"Transfer-Encoding: chunked\r\n\r\n3;x=yz\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
        upstream.answers(b"HTTP/1.1 200 OK\r\n" + chunked)
        before = counters(router)
        router.ask(b"POST /a HTTP/1.1\r\n" + HOST + chunked)
        grown(router, before, total_requests=1, successful_requests=1, bytes_proxied=10, blue=1)

    @pytest.mark.parametrize("status", [b"500 No", b"503 No"])
    def test_server_error_of_the_application_counts_as_failed(
        self, router: RouterProcess, upstream: RawUpstream, status: bytes
    ) -> None:
        upstream.answers(reply(b"", status))
        before = counters(router)
        router.ask(GET)
        grown(router, before, total_requests=1, failed_requests=1, blue=1)

    def test_client_error_counts_as_successful(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.answers(reply(b"", b"404 Not Found"))
        before = counters(router)
        router.ask(GET)
        grown(router, before, total_requests=1, successful_requests=1, blue=1)

    def test_gateway_error_counts_as_failed(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.answers(b"", then_close=True)
        before = counters(router)
        router.ask(GET)
        now = wait_until(
            lambda: (after := counters(router))["failed_requests"] > before["failed_requests"] and after,
            "counted",
        )
        assert isinstance(now, dict)
        assert now["total_requests"] == before["total_requests"] + 1

    def test_broken_off_answer_counts_as_failed(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", then_close=True)
        before = counters(router)
        with pytest.raises((Truncated, ConnectionResetError)):
            router.ask(GET)
        grown(router, before, total_requests=1, failed_requests=1, bytes_proxied=3, blue=1)

    def test_own_endpoints_are_not_counted(self, router: RouterProcess, upstream: RawUpstream) -> None:
        before = counters(router)
        for path in (b"/__router_health", b"/__router_metrics", b"/monitoring"):
            router.ask(own(path))
        assert counters(router) == before

    def test_average_time_is_that_of_the_whole_answer(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(metrics_exclude="/none")

        def slow(exchange: Exchange) -> None:
            exchange.connection.ended.wait(0.3)
            exchange.send(reply())

        upstream.handler = slow
        router.ask(GET)
        average = wait_until(lambda: float(str(router.metrics()["avg_request_time_ms"])), "an average")
        assert 290 <= average < 1000

    def test_counters_are_summed_over_workers(self, farm: RouterFarm) -> None:
        router, _ = farm.get(workers=2)
        before = counters(router)
        for _ in range(40):
            assert router.ask(GET).status == 200
        grown(router, before, total_requests=40, successful_requests=40, bytes_proxied=80, blue=40)


class TestTrouble:
    """Metrics and health when something is broken around them; traffic must not care."""

    def test_counters_outlive_a_killed_worker_and_its_claims_do_not(self, tmp_path: Path) -> None:
        with running_pair(tmp_path) as (router, upstream):
            for _ in range(5):
                router.ask(GET)
            upstream.handler = lambda exchange: exchange.hold(threading.Event())
            with router.connect() as client:
                client.send(GET)
                wait_until(lambda: router.metrics()["in_flight"] == 1, "one in flight")
                (worker,) = router.worker_pids
                os.kill(worker, signal.SIGKILL)
                assert client.how_it_ends() in {"closed", "reset"}
            wait_until(lambda: router.worker_pids not in ([worker], []), "a new worker", 15)
            upstream.answers(reply())
            assert router.ask(GET).status == 200
            wait_until(lambda: router.metrics()["in_flight"] == 0, "nothing in flight")
            assert counters(router)["successful_requests"] >= 6

    @pytest.mark.parametrize("content", [None, b"", b"{", b"null"], ids=["missing", "empty", "torn", "foreign"])
    def test_router_starts_without_a_usable_state_and_serves_when_one_comes(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        state = tmp_path / "other_state.json"
        if content is not None:
            state.write_bytes(content)
        with running_pair(tmp_path, state_file=state) as (router, upstream):
            answer = router.ask(GET)
            assert (answer.status, answer.body) == (503, b"No active backend available")
            status, found = health(router)
            assert (status, found["status"]) == (503, "unhealthy")
            write_state(state, "blue", blue=upstream.port)
            assert router.ask(GET).status == 200

    def test_metrics_file_that_cannot_be_made_does_not_stop_traffic(self, tmp_path: Path) -> None:
        with running_pair(tmp_path, metrics_file=tmp_path / "no" / "such" / "file") as (router, _):
            assert [router.ask(GET).status for _ in range(3)] == [200] * 3


class TestWhoMayAsk:
    """`admin_allow` is judged by the peer, or by what trusted proxies say of it."""

    FORBIDDEN = (403, 404)

    @pytest.fixture
    def guarded(self, farm: RouterFarm) -> Pair:
        """Only 127.0.0.9 may ask."""
        return farm.get(admin_allow="127.0.0.9/32")

    @pytest.fixture
    def behind_proxy(self, farm: RouterFarm) -> Pair:
        """Only 10.1.1.1 may ask, as the one trusted proxy tells."""
        return farm.get(admin_allow="10.1.1.1/32", forwarded_hops=1)

    def metrics_from(self, router: RouterProcess, source: str, *fields: bytes) -> Response:
        """The metrics endpoint as a client at `source` sees it."""
        with router.connect(source=source) as client:
            return client.ask(own(b"/__router_metrics", *fields))

    @pytest.mark.parametrize("path", [b"/__router_metrics", b"/monitoring"])
    def test_foreign_peer_is_turned_away(self, guarded: Pair, path: bytes) -> None:
        router, upstream = guarded
        assert router.ask(own(path)).status in self.FORBIDDEN
        assert upstream.exchanges == []

    def test_allowed_peer_is_answered(self, guarded: Pair) -> None:
        assert self.metrics_from(guarded[0], "127.0.0.9").status == 200

    def test_health_answers_everyone(self, guarded: Pair) -> None:
        assert health(guarded[0])[1]["active_version"] == "blue"

    def test_forwarded_for_of_an_untrusted_peer_is_not_believed(self, guarded: Pair) -> None:
        answer = self.metrics_from(guarded[0], "127.0.0.1", b"X-Forwarded-For: 127.0.0.9\r\n")
        assert answer.status in self.FORBIDDEN

    @pytest.mark.parametrize(
        ("forwarded", "allowed"),
        [
            pytest.param(b"10.1.1.1", True, id="named-by-the-proxy"),
            pytest.param(b"8.8.8.8", False, id="foreign"),
            pytest.param(b"10.1.1.1, 8.8.8.8", False, id="only-claimed-by-a-client"),
            pytest.param(b"8.8.8.8, 10.1.1.1", True, id="right-most-counts"),
            pytest.param(b"8.8.8.8\r\nX-Forwarded-For: 10.1.1.1", True, id="repeated-field"),
            pytest.param(b"nonsense", False, id="not-an-address"),
        ],
    )
    def test_right_most_untrusted_address_counts_behind_a_proxy(
        self, behind_proxy: Pair, forwarded: bytes, allowed: bool
    ) -> None:
        answer = self.metrics_from(behind_proxy[0], "127.0.0.1", b"X-Forwarded-For: " + forwarded + b"\r\n")
        assert (answer.status == 200) is allowed


class TestAccessLog:
    """One JSON object per request, tied to the answer by its request id."""

    def test_line_tells_what_happened(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.answers(reply(b"created", b"201 Created"))
        router.ask(
            b"POST /logged?secret=1 HTTP/1.1\r\n" + HOST,
            b"User-Agent: tester\r\nX-Request-ID: log-1\r\nContent-Length: 5\r\n\r\nhello",
        )
        entry = router.logged(lambda entry: entry["request_id"] == "log-1")
        expected = {
            "client": "127.0.0.1",
            "method": "POST",
            "version": "blue",
            "status": 201,
            "bytes_in": 5,
            "bytes_out": 7,
            "user_agent": "tester",
        }
        assert {name: entry[name] for name in expected} == expected
        assert str(entry["path"]).startswith("/logged")
        assert {"time", "cause", "duration_ms", "upstream_ms", "protocol"} <= set(entry)
        assert float(str(entry["duration_ms"])) >= float(str(entry["upstream_ms"])) >= 0

    def test_usr1_opens_the_file_anew_after_it_was_moved(self, farm: RouterFarm) -> None:
        router, _ = farm.get(via="rotated")  # one of its own: other tests read the log of theirs
        router.ask(GET)
        log = router.access_log_file
        log.rename(log.with_suffix(".1"))
        os.kill(router.master_pid, signal.SIGUSR1)

        def is_written_to_anew() -> bool:
            router.ask(GET)
            return log.exists() and log.stat().st_size > 0

        wait_until(is_written_to_anew, "lines in a new file")

    def test_usr1_that_cannot_open_the_file_costs_no_worker(self, farm: RouterFarm) -> None:
        router, _ = farm.get(via="not-rotated")
        workers, log = router.worker_pids, router.access_log_file
        log.rename(log.with_suffix(".1"))
        log.mkdir()
        os.kill(router.master_pid, signal.SIGUSR1)
        wait_until(lambda: "its lines go on into the file that was open" in router.log, "the warning")
        assert router.ask(GET).status == 200
        assert router.worker_pids == workers

    def test_request_id_ties_log_answer_and_upstream_together(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        answer = router.ask(GET)
        request_id = upstream.only.head.value(b"X-Request-ID")
        assert request_id is not None
        assert answer.value(b"X-Request-ID") == request_id
        assert router.logged(lambda entry: entry["request_id"] == request_id.decode())["status"] == 200

    @pytest.mark.parametrize("target", [b'/"quoted"\\', b"/\xff\xfe", b"/%0a%0d", "/ä".encode()])
    def test_line_stays_one_json_object(self, router: RouterProcess, upstream: RawUpstream, target: bytes) -> None:
        answer = router.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        request_id = (answer.value(b"X-Request-ID") or b"").decode()
        assert router.logged(lambda entry: entry["request_id"] == request_id)["status"] == 200
