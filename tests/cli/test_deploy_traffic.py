"""What a deploy command sees of the router's requests while the metrics file changes under it."""

from __future__ import annotations

import os
from pathlib import Path

from app.cli.deploy_traffic import open_traffic
from app.metrics.shared import SharedMetrics, monotonic_us
from app.settings.tables.router_settings import RouterConfig


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

    old.finish(row, 0, 200, 0, 0, 0, 1, 1, 1)
    old.close()
    assert traffic.in_flight("blue") == 1
    for opened in (new, before, after):
        opened.close()
