"""`[[limit]]`: who asks too often, or for too much at once, over all workers of a real router."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests

from tests.support.environment import own_environment
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as found:
        found.answers(reply(b"ok"))
        yield found


Limited = Callable[..., Any]


@pytest.fixture
def limited(upstream: RawUpstream, tmp_path: Path) -> Limited:
    @contextmanager
    def start(toml: str, workers: int = 2, **settings: Any) -> Iterator[RouterProcess]:
        with configured_router(tmp_path, upstream.port, toml, workers=workers, **settings) as router:
            yield router

    return start


def ask(router: RouterProcess, path: str = "/", method: str = "GET", **fields: str) -> requests.Response:
    """On a connection of its own, so that any worker may have it."""
    return requests.request(method, f"http://127.0.0.1:{router.port}{path}", headers=fields, timeout=20)


LOGIN = '[[limit]]\nname = "login"\npath = ["/login", "/api/*"]\nrate = "5/h"\n'


@pytest.mark.parametrize("lane", ["true", "false"])
def test_burst_passes_and_the_next_is_told_when_to_come_back(limited: Limited, lane: str) -> None:
    with limited(f"lane = {lane}\n{LOGIN}") as router:
        answers = [ask(router, "/login") for _ in range(7)]

        assert [one.status_code for one in answers] == [200] * 5 + [429] * 2
        refused = answers[-1]
        assert refused.text == "Too many requests"
        assert 700 <= int(refused.headers["Retry-After"]) <= 720
        assert refused.headers["RateLimit-Policy"] == '"login";q=5;w=3600'
        assert refused.headers["RateLimit"] == f'"login";r=0;t={refused.headers["Retry-After"]}'
        assert ask(router, "/other").status_code == 200
        assert "RateLimit" not in answers[0].headers


def test_refusal_is_text_page_or_json_as_the_client_likes(limited: Limited) -> None:
    with limited(LOGIN.replace("5/h", "1/h")) as router:
        ask(router, "/login")
        page = ask(router, "/login", Accept="text/html")
        data = ask(router, "/login", Accept="application/json").json()

        assert "Too many requests" in page.text and "try again in 60 minutes" in page.text
        assert (data["error"], data["status"], data["cause"]) == ("Too many requests", 429, "rate_limited")


ASKED = [
    b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /login HTTP/1.1\r\nHost: x\r\nX-Request-ID: a/b=c\r\nAccept: text/html\r\n\r\n",
    b"GET /login HTTP/1.1\r\nHost: x\r\nX-Request-ID: a/b=c\r\nAccept: application/json\r\n\r\n",
    b"HEAD /login HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n",
    b"GET /login HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
]
CHANGING = re.compile(rb"(?<=Date: )[^\r]+|(?<=;t=)\d+|(?<=Retry-After: )\d+|[0-9a-f]{16}-\d+")


def test_lane_refuses_with_the_same_bytes(upstream: RawUpstream, tmp_path: Path) -> None:
    found = []
    for lane in ("true", "false"):
        (folder := tmp_path / lane).mkdir()
        with configured_router(folder, upstream.port, f"lane = {lane}\n{LOGIN.replace('5/h', '1/h')}") as router:
            ask(router, "/login")
            answers = [router.ask(asked) for asked in (*ASKED, *ASKED)]
            found.append([CHANGING.sub(b"*", one.head.raw + one.body) for one in answers])
    assert found[0] == found[1]
    assert all(one.startswith(b"HTTP/1.1 429 ") for one in found[0])
    assert b"a/b=c" in found[0][1].partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("path", ["/x/../login", "/%6Cogin", "//login", "/LOGIN", "/login;a=1", "/login?a=1", "/api/a"])
def test_no_spelling_of_a_path_gets_past(limited: Limited, path: str) -> None:
    with limited(LOGIN.replace("5/h", "1/h")) as router:
        assert ask(router, "/login").status_code == 200
        with requests.Session() as session:
            request = requests.Request("GET", f"http://127.0.0.1:{router.port}/").prepare()
            request.url = f"http://127.0.0.1:{router.port}{path}"
            assert session.send(request, timeout=10).status_code == 429


def test_methods_say_which_requests_are_counted(limited: Limited) -> None:
    with limited(f'{LOGIN.replace("5/h", "1/h")}methods = ["POST"]\n') as router:
        statuses = [ask(router, "/login", method).status_code for method in ("GET", "POST", "GET", "POST", "GET")]
        assert statuses == [200, 200, 200, 429, 200]


def test_each_value_of_a_field_has_its_own_allowance(limited: Limited) -> None:
    toml = '[[limit]]\nname = "keys"\nkey = "header:X-Api-Key"\nrate = "2/h"\n'
    with limited(toml) as router:
        statuses = [ask(router, **{"X-Api-Key": key}).status_code for key in "aababb"]
        assert statuses == [200, 200, 200, 429, 200, 429]
        assert [ask(router).status_code for _ in range(3)] == [200, 200, 429]


def test_client_is_the_one_that_a_trusted_proxy_names(limited: Limited) -> None:
    with limited(f"forwarded_hops = 1\n{LOGIN.replace('5/h', '1/h')}") as router:
        froms = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2"]
        statuses = [ask(router, "/login", **{"X-Forwarded-For": one}).status_code for one in froms]
        assert statuses == [200, 200, 429, 200, 429]


def test_dry_run_refuses_nothing_and_counts(limited: Limited) -> None:
    with limited(f'access_log_fields = ["limit"]\n{LOGIN.replace("5/h", "1/h")}dry_run = true\n') as router:
        assert [ask(router, "/login").status_code for _ in range(3)] == [200] * 3
        ask(router, "/other")
        wait_until(lambda: len(router.access_log()) == 4, "four lines")
        assert sorted(str(line["limit"]) for line in router.access_log()) == ["None", "None", "login", "login"]
        assert "would refuse (dry_run) 127.0.0.1" in router.log


def test_one_that_was_delayed_is_asked_for_by_the_limits_behind(limited: Limited) -> None:
    toml = '[[limit]]\nname = "slow"\nrate = "10/s"\nburst = 1\ndelay = "1s"\n\n[[limit]]\nname = "few"\nrate = "1/h"\n'
    with limited(toml) as router:
        assert [ask(router).status_code for _ in range(3)] == [200, 429, 429]


def test_delay_lets_requests_go_one_after_the_other(limited: Limited) -> None:
    toml = '[[limit]]\nname = "slow"\nrate = "10/s"\nburst = 1\ndelay = "1s"\n'
    with limited(toml) as router:
        began = monotonic()
        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda _: ask(router).status_code, range(20)))
        assert 11 <= statuses.count(200) <= 14
        assert statuses.count(429) == 20 - statuses.count(200)
        assert monotonic() - began >= 0.9


def test_key_has_so_many_at_once_over_all_workers(limited: Limited, upstream: RawUpstream) -> None:
    go = threading.Event()
    upstream.answers(reply(b"ok"), after=go)
    with limited('[[limit]]\nname = "exports"\npath = "/export/*"\nin_flight = 3\n', workers=4) as router:
        with ThreadPoolExecutor(3) as pool:
            first = [pool.submit(ask, router, "/export/a") for _ in range(3)]
            wait_until(lambda: len(upstream.exchanges) >= 3, "three to be in flight")
            refused = [ask(router, "/export/b") for _ in range(4)]
            go.set()
            assert [one.result().status_code for one in first] == [200] * 3
        assert [one.status_code for one in refused] == [429] * 4
        assert refused[0].headers["RateLimit-Policy"] == '"exports";q=3;qu="concurrent-requests"'
        wait_until(lambda: ask(router, "/export/c").status_code == 200, "room again")


def test_what_a_killed_worker_had_in_flight_counts_no_more(limited: Limited, upstream: RawUpstream) -> None:
    go = threading.Event()
    upstream.answers(reply(b"ok"), after=go)
    with limited('[[limit]]\nname = "one"\npath = "/one"\nin_flight = 1\n', workers=1) as router:
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(ask, router, "/one")
            wait_until(lambda: len(upstream.exchanges) >= 1, "it to be in flight")
            assert ask(router, "/one").status_code == 429
            os.kill(router.worker_pids[0], signal.SIGKILL)
            assert lost.exception(20) is not None
        go.set()
        wait_until(lambda: _status(router, "/one") == 200, "a new worker to let it pass")


def _status(router: RouterProcess, path: str) -> int:
    try:
        return ask(router, path).status_code
    except requests.ConnectionError:
        return 0


def reloaded(router: RouterProcess) -> None:
    """All workers are new ones, and the log has said so."""
    before, times = set(router.worker_pids), router.log.count("Reloaded:")
    router.reload()
    wait_until(lambda: router.log.count("Reloaded:") > times, "the reload", 40)
    wait_until(lambda: not before & set(router.worker_pids), "the old workers to be gone", 40)


def test_counts_survive_reload_and_deaths_and_a_new_rate_begins_anew(limited: Limited, tmp_path: Path) -> None:
    with limited(LOGIN) as router:
        assert [ask(router, "/login").status_code for _ in range(6)] == [200] * 5 + [429]
        for pid in router.worker_pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _status(router, "/login") == 429, "new workers that know")
        reloaded(router)
        assert ask(router, "/login").status_code == 429
        settings = tmp_path / "project" / "traffic_router.toml"
        settings.write_text(LOGIN.replace("5/h", "6/h"))
        reloaded(router)
        assert "limit.login.rate = 5/h → 6/h" in router.log
        assert ask(router, "/login").status_code == 200
        settings.write_text("")
        reloaded(router)
        assert [ask(router, "/login").status_code for _ in range(8)] == [200] * 8


POLICY = """
[[limit]]
name = "login"
path = ["/login/*"]
methods = ["POST"]
rate = "5/h"

[[limit]]
name = "keys"
key = ["header:X-Api-Key", "cookie:sid"]
rate = "1000/s"
delay = "1s"

[[limit]]
name = "exports"
path = ["/export"]
in_flight = 3

[[limit]]
name = "tried"
rate = "1/h"
dry_run = true
"""


def run(router: RouterProcess, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **own_environment(),
        "TRAFFIC_ROUTER_HOME": str(tmp_path / "project"),
        "TRAFFIC_ROUTER_STATE_FILE": str(router.state_file),
    }
    command = [sys.executable, str(ROOT / "bin" / "traffic_router"), *words, f"--port={router.port}"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_test_command_sees_each_limit_refuse_without_asking_the_application(
    limited: Limited, upstream: RawUpstream, tmp_path: Path
) -> None:
    with limited(POLICY) as router:
        done = run(router, tmp_path, "test")

        assert "✅ Limit login: POST /login/ beyond 5/h was answered 429, Retry-After 7" in done.stdout
        assert "✅ Limit keys: GET / beyond 1000/s was answered 429, Retry-After" in done.stdout
        assert "✅ Limit exports: GET /export beyond 3 in flight was answered 429" in done.stdout
        assert "✅ Limit tried: refuses nothing: dry_run is on" in done.stdout
        assert {exchange.target for exchange in upstream.exchanges} <= {b"/health", b"/"}
        assert ask(router, "/login/", "POST").status_code == ask(router, "/export").status_code == 200


def test_test_command_fails_for_a_limit_that_the_router_has_not_got(limited: Limited, tmp_path: Path) -> None:
    with limited("") as router:
        (tmp_path / "project" / "traffic_router.toml").write_text(LOGIN)
        done = run(router, tmp_path, "test")

        assert done.returncode == 1
        assert "❌ Limit login: the router counts no limits" in done.stdout


def test_figures_of_limits_are_told_everywhere(limited: Limited, tmp_path: Path) -> None:
    with limited(f'dashboard_path = "/board"\n{LOGIN.replace("5/h", "1/h")}') as router:
        for _ in range(4):
            ask(router, "/login")
        metrics = ask(router, "/__router_metrics").json()
        assert metrics["limits"] == [{"name": "login", "passed": 1, "refused": 3, "delayed": 0, "would_refuse": 0}]
        (key,) = metrics["last_refused"]
        assert (key["limit"], key["key"], key["times"]) == ("login", "127.0.0.1", 3)
        scrape = ask(router, "/__router_metrics?format=prometheus").text
        assert 'traffic_router_limit_requests_total{limit="login",outcome="refused"} 3.0' in scrape
        assert "127.0.0.1 (3" in ask(router, "/board").text
        assert "Let through" in run(router, tmp_path, "metrics").stdout


def test_who_has_no_limits_has_no_file(limited: Limited, tmp_path: Path) -> None:
    with limited("") as router:
        ask(router)
        assert not list(tmp_path.rglob("router_limits.mmap"))


def test_rate_is_exact_over_all_workers(limited: Limited) -> None:
    with limited('[[limit]]\nname = "all"\nkey = "path"\nrate = "100/s"\nburst = 1\n', workers=4) as router:
        until, passed, lock = monotonic() + 4, 0, threading.Lock()

        def client() -> None:
            nonlocal passed
            with requests.Session() as session:
                while monotonic() < until:
                    status = session.get(f"http://127.0.0.1:{router.port}/a", timeout=10).status_code
                    with lock:
                        passed += status == 200

        clients = [threading.Thread(target=client) for _ in range(16)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        assert passed <= 4 * 101 + 1
