"""What goes on in a worker beside its requests: the heartbeat, the health checks, the state file's faults."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from app.metrics.leader import Turn
from app.metrics.shared import monotonic_us
from app.proxy.service import Service, metrics_slots, worker_count
from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from tests.proxy.flying import Flying
from tests.support.raw_upstream import RawUpstream
from tests.support.waiting import wait_until


def greenlets() -> set[gevent.Greenlet]:
    """All that are alive."""
    return {found for found in gc.get_objects() if isinstance(found, gevent.Greenlet) and not found.dead}


@pytest.fixture
def no_greenlets_left() -> Iterator[None]:
    """Ends what the service has started and would go on for as long as the worker does."""
    before = greenlets()
    yield
    gevent.killall(list(greenlets() - before), timeout=10)


@pytest.mark.parametrize(("workers", "slots"), [(1, 16), (4, 16), (5, 20), (64, 256)])
def test_metrics_have_room_for_reloads_and_upgrades(workers: int, slots: int) -> None:
    assert metrics_slots(RouterConfig(workers=workers)) == slots


def test_one_worker_for_each_core_by_default() -> None:
    assert worker_count(RouterConfig()) >= 1
    assert worker_count(RouterConfig(workers=3)) == 3


def test_worker_beats_probes_and_tells_of_a_broken_state_file(
    fly: Callable[..., Flying],
    upstream: RawUpstream,
    no_greenlets_left: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flying = fly(health_check_interval=0.1)
    metrics = flying.service.metrics
    state = tmp_path / "bg_state.json"
    good = state.read_text()
    flying.service.start()

    def comes(condition: Callable[[], object], what: str) -> None:
        wait_until(lambda: gevent.sleep(0.01) or condition(), what)

    comes(lambda: metrics.probes(0), "a health check of blue")
    assert metrics.probes(0)[0].ok
    assert upstream.probes >= 1
    with caplog.at_level(logging.WARNING, "app.proxy.service"):
        state.write_text("{")
        comes(lambda: "is not usable" in caplog.text, "word of the fault")
        state.write_text(good)
        comes(lambda: "can be read again" in caplog.text, "word of its end")
    assert metrics.live_slots() == 1


def test_failover_that_a_switch_has_ended_is_told_without_a_way_back(tmp_path: Path, no_greenlets_left: None) -> None:
    state, told = tmp_path / "bg_state.json", list[Turn]()
    state.write_text('{"active_version": "green"}')
    config = RouterConfig(state_file=str(state), metrics_file=str(tmp_path / "m.mmap"))
    service = Service(Loaded.just(config), tell_failover=told.extend)
    service.slot.divert(0, monotonic_us())
    service.slot.divert(None, monotonic_us())
    service.start()
    wait_until(lambda: gevent.sleep(0.01) or told, "the leader's look")
    assert told == [Turn(0, is_back=False)]
