from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from tests.support.fake_clock import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "local" / "router_metrics.mmap"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics(path: Path, clock: FakeClock) -> Iterator[SharedMetrics]:
    metrics = SharedMetrics.create_or_attach(path, 4, clock)
    assert metrics.fault == ""
    yield metrics
    metrics.close()


@pytest.fixture
def writer(metrics: SharedMetrics) -> Iterator[SlotWriter]:
    writer = metrics.claim_slot(os.getpid())
    yield writer
    writer.close()


@pytest.fixture
def leader(metrics: SharedMetrics) -> SharedMetrics:
    assert metrics.try_lead()
    return metrics


Answer = Callable[..., None]


@pytest.fixture
def answer(writer: SlotWriter, clock: FakeClock) -> Answer:
    """Records one request from start to finish; only what matters needs to be said."""

    def record(
        version: int = 0,
        status: int = 200,
        cause: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
        total_us: int = 1000,
        first_byte_us: int = 900,
        upstream_us: int = 800,
    ) -> None:
        row = writer.start(version, b"GET", b"/", clock())
        writer.finish(
            row,
            version,
            status=status,
            cause=cause,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            total_us=total_us,
            first_byte_us=first_byte_us,
            upstream_us=upstream_us,
        )

    return record
