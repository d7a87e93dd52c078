"""All workers count in one place, which their master has made: also where the metrics file cannot be used."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.holding import GET, health, request
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until

HEALTH, METRICS = request(target=b"/__router_health"), request(target=b"/__router_metrics")
WORKERS = 4
ASKED = 40


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody else's file where the metrics should be."""
    path = tmp_path / "foreign"
    path.write_text("not a metrics file" * 1000)
    return path


def figures_of_each(router: RouterProcess) -> dict[int, dict[str, Any]]:
    """What each worker says at `/__router_metrics`; connections go to whichever is quickest."""
    found: dict[int, dict[str, Any]] = {}

    def ask() -> bool:
        with ExitStack() as stack:
            # Held open together, connections are spread over the workers.
            for client in [stack.enter_context(router.connect()) for _ in range(2 * WORKERS)]:
                pid = json.loads(client.ask(HEALTH).body)["traffic"]["worker"]["pid"]
                found[pid] = json.loads(client.ask(METRICS).body)
        return len(found) >= WORKERS

    wait_until(ask, "an answer of each worker", 30)
    return found


def ask_all(router: RouterProcess, count: int = ASKED) -> None:
    for _ in range(count):
        assert router.ask(GET).body == b"blue"


def assert_all_agree(router: RouterProcess, requests: int) -> None:
    wait_until(lambda: writers(router) == set(router.worker_pids), "a slot for each worker", 30)
    for figures in figures_of_each(router).values():
        assert figures["versions"]["blue"]["requests"] == requests
        assert figures["in_flight"] == 0
        assert {worker["pid"] for worker in figures["workers"]} == set(router.worker_pids)


def writers(router: RouterProcess) -> set[int]:
    """The pids of those that count, as one of them says."""
    workers: Any = router.metrics()["workers"]
    return {worker["pid"] for worker in workers}


def test_totals_are_exact_over_all_workers_without_a_file(tmp_path: Path, blue: RawUpstream, foreign: Path) -> None:
    with running_router(tmp_path / "site", blue.port, workers=WORKERS, metrics_file=foreign) as router:
        ask_all(router)
        assert_all_agree(router, ASKED)
        assert "not a metrics file of this router" in health(router)["metrics"]["fault"]
    assert foreign.read_text().startswith("not a metrics file")


def test_worker_that_is_replaced_counts_on_without_a_file(tmp_path: Path, blue: RawUpstream, foreign: Path) -> None:
    with running_router(tmp_path / "site", blue.port, workers=WORKERS, metrics_file=foreign) as router:
        ask_all(router)
        killed = router.worker_pids[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in router.worker_pids and len(router.worker_pids) == WORKERS, "the new worker")
        ask_all(router)
        assert_all_agree(router, 2 * ASKED)


@pytest.mark.parametrize("is_mended", [False, True], ids=["still foreign", "mended"])
def test_reload_keeps_the_account_while_there_is_no_file(
    tmp_path: Path, blue: RawUpstream, foreign: Path, is_mended: bool
) -> None:
    with running_router(tmp_path / "site", blue.port, workers=WORKERS, metrics_file=foreign) as router:
        ask_all(router)
        old = set(router.worker_pids)
        if is_mended:
            foreign.unlink()
        router.reload()
        wait_until(lambda: not old & set(router.worker_pids), "new workers in place of the old", 30)
        ask_all(router)
        assert_all_agree(router, ASKED if is_mended else 2 * ASKED)
        assert bool(health(router)["metrics"]["fault"]) is not is_mended


def test_workers_stay_together_when_the_file_is_deleted_until_a_reload_makes_it_anew(
    tmp_path: Path, blue: RawUpstream
) -> None:
    file = tmp_path / "metrics.mmap"
    with running_router(tmp_path / "site", blue.port, workers=WORKERS, metrics_file=file) as router:
        ask_all(router)
        file.unlink()
        killed, *others = router.worker_pids
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in router.worker_pids and len(router.worker_pids) == WORKERS, "the new worker")
        ask_all(router)
        assert_all_agree(router, 2 * ASKED)
        # A file that knows of the new worker only would let a drain end while the others have requests.
        assert not file.exists()
        router.reload()
        wait_until(lambda: not set(others) & set(router.worker_pids), "new workers in place of the old", 30)
        ask_all(router)
        assert_all_agree(router, ASKED)
        assert file.exists()
        assert not health(router)["metrics"]["fault"]
