"""HUP: new settings and new code without a lost request, and a router that survives what is not fit to run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.metrics.shared import SharedMetrics
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import Pair, running_pair
from tests.support.router_process import ROOT, RouterProcess
from tests.support.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"


@pytest.fixture(scope="module")
def running(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("router")
    with running_pair(folder, root=project, workers=2, graceful_timeout=10) as pair:
        yield pair


@pytest.fixture(autouse=True)
def put_back(router: RouterProcess, project: Path) -> Iterator[None]:
    """What a test has changed of the code and the settings."""
    yield
    shutil.copy(ROOT / "app" / "health.py", project / "app" / "health.py")
    (project / "traffic_router.toml").unlink(missing_ok=True)
    wait_until(lambda: len(router.worker_pids) == 2, "two workers", 20)


def record(router: RouterProcess) -> dict[str, object]:
    """The pid file."""
    found: dict[str, object] = json.loads((router.folder / "router.json").read_text())
    return found


def _changed(router: RouterProcess, before: object) -> dict[str, object] | None:
    found = record(router)
    return found if found["changes"] != before else None


def reload(router: RouterProcess) -> str:
    """Ask for a reload and wait until it is over, one way or the other; returns the fault."""
    before, workers = record(router)["changes"], set(router.worker_pids)
    router.reload()
    after = wait_until(lambda: _changed(router, before), "the reload's outcome", 30)
    if not after["fault"]:
        wait_until(lambda: workers.isdisjoint(router.worker_pids), "the end of the old workers", 30)
    return str(after["fault"])


def health(router: RouterProcess) -> dict[str, object]:
    answer = router.ask(b"GET /__router_health HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n")
    found: dict[str, object] = json.loads(answer.body)
    return found


def test_reload_takes_up_settings(router: RouterProcess, project: Path) -> None:
    assert router.ask(GET).value(b"Server-Timing") is None
    (project / "traffic_router.toml").write_text("server_timing = true\n")
    assert reload(router) == ""
    assert router.ask(GET).value(b"Server-Timing") is not None


def test_reload_takes_up_code_also_what_the_master_has_imported(router: RouterProcess, project: Path) -> None:
    module = project / "app" / "health.py"
    module.write_text(module.read_text().replace('"status":', '"made": "new", "status":'))
    errors = project / "app" / "errors.py"
    kept = errors.read_text()
    errors.write_text(kept.replace('text = "Bad request"', 'text = "Bad request, newly said"'))
    try:
        assert "made" not in health(router)
        assert reload(router) == ""
        assert health(router)["made"] == "new"
        assert router.ask(b"GET / HTTP/1.1\r\n\r\n").text.strip() == "Bad request, newly said"
    finally:
        errors.write_text(kept)


BROKEN = {
    "no TOML": ("traffic_router.toml", "read_timeout = = 5\n", "traffic_router.toml cannot be used"),
    "unknown setting": ("traffic_router.toml", "pol_size = 5\n", "did you mean pool_size?"),
    "syntax error": ("app/health.py", "def health_report(:\n", "SyntaxError"),
    "missing package": ("app/health.py", "import no_such_package\n", "No module named 'no_such_package'"),
}


@pytest.mark.parametrize(("file", "content", "said"), BROKEN.values(), ids=BROKEN)
def test_reload_that_would_not_boot_is_refused_and_the_router_goes_on(
    router: RouterProcess, project: Path, file: str, content: str, said: str
) -> None:
    workers = set(router.worker_pids)
    (project / file).write_text(content)
    assert said in reload(router)
    assert set(router.worker_pids) == workers
    assert "Reload refused; the router goes on as it is" in router.log
    assert said in router.log
    assert router.ask(GET).status == 200


def test_reload_to_a_release_that_this_master_does_not_fit_is_refused(router: RouterProcess, project: Path) -> None:
    config, workers = project / "gunicorn.conf.py", set(router.worker_pids)
    kept = config.read_text()
    config.write_text(kept.replace("server.move_files(", "server.what_only_the_next_master_has("))
    try:
        fault = reload(router)
    finally:
        config.write_text(kept)
    assert "what_only_the_next_master_has" in fault
    assert "bin/traffic_router upgrade" in fault
    assert set(router.worker_pids) == workers
    assert reload(router) == ""
    assert router.ask(GET).status == 200


def test_worker_replaced_after_a_refused_reload_has_the_old_settings(router: RouterProcess, project: Path) -> None:
    (project / "traffic_router.toml").write_text("read_timeout = -1\n")
    assert "read_timeout" in reload(router)
    victim = router.worker_pids[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in router.worker_pids and len(router.worker_pids) == 2, "a new worker", 20)
    wait_until(lambda: len(workers_of(router)) == 2, "its heartbeat")
    assert all(router.ask(GET).status == 200 for _ in range(20))
    assert router.process.poll() is None


def workers_of(router: RouterProcess) -> list[object]:
    found = router.metrics()["workers"]
    assert isinstance(found, list)
    return found


def test_worker_that_cannot_boot_does_not_end_a_router_that_serves(router: RouterProcess, project: Path) -> None:
    """The code has been broken since the last reload, and then a worker dies."""
    (project / "app" / "health.py").write_text("import no_such_package\n")
    victim, other = router.worker_pids
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "Worker failed to boot. The others serve on" in router.log, "the failed boot", 20)
    assert router.ask(GET).status == 200
    assert other in router.worker_pids
    shutil.copy(ROOT / "app" / "health.py", project / "app" / "health.py")
    wait_until(lambda: len(workers_of(router)) == 2, "a second worker that serves", 20)


@pytest.mark.alone
def test_reload_under_load_loses_nothing_and_counts_on(router: RouterProcess, upstream: RawUpstream) -> None:
    before = router.metrics()["total_requests"]
    with Hammering(router.port, clients=2) as clients:
        wait_until(lambda: len(upstream.exchanges) > 100, "100 requests", 20)
        assert reload(router) == ""
    assert clients.failures == []
    # The old workers serve until the new ones do, so that nobody waits while they boot.
    assert max(end - start for start, end, _ in clients.answers) < 0.5
    assert isinstance(before, int)
    wait_until(lambda: router.metrics()["total_requests"] == before + len(clients.answers), "balanced counters")


def test_request_in_flight_ends_in_the_old_worker(router: RouterProcess, upstream: RawUpstream) -> None:
    go_on = threading.Event()
    upstream.answers(reply(b"late"), after=go_on)
    workers = set(router.worker_pids)
    with RawClient(router.port) as client:
        client.send(GET)
        wait_until(lambda: upstream.exchanges and upstream.exchanges[-1].target == b"/", "the request")
        router.reload()
        wait_until(lambda: workers - set(router.worker_pids), "the end of one of the old workers", 30)
        go_on.set()
        assert client.read_response().body == b"late"
    upstream.answers(reply())
    wait_until(lambda: workers.isdisjoint(router.worker_pids), "the end of the old workers", 20)


def test_reload_that_needs_more_slots_counts_everybody(router: RouterProcess, project: Path) -> None:
    """All slots are taken, as by more workers than there were to be, and the new workers get further ones."""
    code = project / "app" / "metrics" / "layout.py"
    before = code.read_text()
    metrics = SharedMetrics.open(router.folder / "router_metrics.mmap")
    slots, counted = metrics.slots, metrics.snapshot().overall.requests
    writing = SharedMetrics.create_or_attach(metrics.path, slots)
    others = [writing.claim_slot(os.getpid(), "script") for _ in range(slots - len(router.worker_pids))]
    try:
        code.write_text(before.replace("max(16, 4 * workers)", "20"))
        assert reload(router) == ""
        assert {worker.slot for worker in metrics.snapshot().workers} >= {slots, slots + 1}
        assert [router.ask(GET).status for _ in range(20)] == [200] * 20
        wait_until(lambda: metrics.snapshot().overall.requests == counted + 20, "balanced counters")
        assert "is not counted" not in router.log
    finally:
        code.write_text(before)
        for other in others:
            other.close()
        writing.close()
        metrics.close()
