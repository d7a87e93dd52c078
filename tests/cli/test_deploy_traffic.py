"""What a deploy command sees of the router's requests while the metrics file changes under it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from app.address import Address
from app.cli import deploy_call
from app.cli.deploy_traffic import open_traffic
from app.deploy.traffic import Traffic
from app.metrics.backend_rows import TIMES_BITS
from app.metrics.shared import SharedMetrics, monotonic_us
from app.settings.tables.router_settings import RouterConfig
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import running_router


def test_drain_counts_what_workers_of_before_have_beside_a_new_file(tmp_path: Path) -> None:
    config = RouterConfig(state_file=str(tmp_path / "bg_state.json"))
    assert open_traffic(config) is None
    before = SharedMetrics.create_or_attach(config.metrics_path, 4)
    assert open_traffic(config) is None  # a file that nobody writes: no router runs
    old = before.claim_slot(os.getpid())
    row = old.start(0, b"GET", b"/report", monotonic_us(), b"id-1")
    traffic = open_traffic(config)
    assert traffic is not None
    assert traffic.in_flight("blue") == 1

    Path(config.metrics_path).unlink()
    assert traffic.in_flight("blue") == 1  # workers that still run count in the file that they have mapped
    after = SharedMetrics.create_or_attach(config.metrics_path, 4)
    new = after.claim_slot(os.getpid())
    new.start(0, b"GET", b"/quick", monotonic_us(), b"id-2")
    assert traffic.in_flight("blue") == 2
    assert [found.path for found in traffic.in_flight_rows("blue")] == ["/report", "/quick"]

    old.finish(row, 0, status=200)
    old.close()
    assert traffic.in_flight("blue") == 1
    for opened in (new, before, after):
        opened.close()


def test_one_listener_is_asked_about_by_itself(tmp_path: Path) -> None:
    """A drain waits for the requests of one process alone, and a rolling restart until the router uses it."""
    config = RouterConfig(state_file=str(tmp_path / "bg_state.json"))
    metrics = SharedMetrics.create_or_attach(config.metrics_path, 4)
    writer = metrics.claim_slot(os.getpid())
    first, second = (Address("127.0.0.1", port) for port in (5005, 5015))
    words = metrics.backends(writer, 0)
    words.name((first, second))
    words.began(1)
    words.began(1)
    words.say_out(0, (monotonic_us() + 60_000_000) << TIMES_BITS)
    traffic = open_traffic(config)
    assert traffic is not None
    assert [traffic.in_flight_on("blue", [address]) for address in (first, second)] == [0, 2]
    assert traffic.in_flight_on("blue", [first, second]) == 2
    assert [traffic.uses("blue", address) for address in (first, second)] == [False, True]
    for opened in (writer, metrics):
        opened.close()


def test_router_whose_workers_were_all_killed_is_seen_when_one_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the death of the last one and the first word of the next, nobody writes into the file."""
    with RawUpstream() as upstream, running_router(tmp_path, upstream.port, workers=2) as router:
        looks = list[str]()

        def open_late(config: RouterConfig) -> Traffic | None:
            looks.append("look")
            if len(looks) == 1:
                for worker in router.worker_pids:
                    os.kill(worker, signal.SIGKILL)
            return open_traffic(config)

        monkeypatch.setattr(deploy_call, "open_traffic", open_late)
        config = RouterConfig(
            state_file=str(router.state_file), metrics_file=str(tmp_path / "router_metrics.mmap"), main_port=router.port
        )
        traffic, blind = deploy_call._traffic_seen(config)
        assert traffic is not None
        assert blind == ""
