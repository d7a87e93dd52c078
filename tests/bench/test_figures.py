"""Figures and tables, from samples that nobody had to measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.accounting import Memory
from bench.compare import render_comparison
from bench.memory import growth_per_100k
from bench.quick import NAMES, render_quick
from bench.record import conditions, load_record, save_record
from bench.sampling import Sample
from bench.table import figure, ratio, render_table
from bench.workers import scaling, spread


def sample(cpu_s: float, requests: int = 1000, body_bytes: int = 0) -> Sample:
    return Sample(requests, 1, 2.0, 300.0, 900.0, cpu_s, 0.04, body_bytes)


def cells(table: str, name: str) -> list[str]:
    """The cells of the row that begins with `name`."""
    [row] = [line for line in table.splitlines() if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_table_lines_are_equally_long() -> None:
    table = render_table(("proxy", "µs"), [["router", "1"], ["a much longer name", "1,234.5"]])

    assert len({len(line) for line in table.splitlines()}) == 1
    assert table.splitlines()[1] == "| " + "-" * 18 + " | ------: |"


def test_missing_figures_are_dashes() -> None:
    assert (figure(None), ratio(None, 1.0), ratio(1.0, None), ratio(1.0, 0)) == ("–", "–", "–", "–")


def test_sample_figures_follow_from_what_was_counted() -> None:
    taken = sample(cpu_s=0.05, requests=2048, body_bytes=1 << 20)

    assert taken.requests_per_s == 1024
    assert taken.cpu_us_per_request == pytest.approx(0.05e6 / 2048)
    assert taken.cpu_s_per_gib == pytest.approx(0.025)


def test_comparison_shows_medians_as_multiples_of_the_routers() -> None:
    samples = {
        "direct": {"small": [sample(0.01)], "64k": [], "1m": []},
        "router": {"small": [sample(0.05), sample(0.9), sample(0.04)], "64k": [], "1m": []},
        "nginx": {"small": [sample(0.02)], "64k": [], "1m": []},
    }

    table = render_comparison(samples, {"router": Memory(51_200, 0), "nginx": Memory(12_800, 0)})

    assert cells(table, "router") == "router 50.0 1.00 500 1.00 300 900 – – – – 50 1.00 3 4%".split()
    assert cells(table, "nginx") == "nginx 20.0 0.40 500 1.00 300 900 – – – – 12 0.25 1 4%".split()
    assert cells(table, "direct")[1:4] == ["–", "–", "500"]


def test_comparison_without_the_router_has_no_multiples() -> None:
    table = render_comparison({"nginx": {"small": [sample(0.02)], "64k": [], "1m": []}}, {})

    assert cells(table, "nginx")[1:3] == ["20.0", "–"]


def test_quick_run_stands_beside_the_one_before() -> None:
    now = dict.fromkeys(NAMES, 3.0)

    assert cells(render_quick(now, {"errors": 2.0}), "errors") == ["errors", "2", "3", "1.50"]
    assert cells(render_quick(now, {}), "errors") == ["errors", "–", "3", "–"]


def test_growth_is_the_slope_of_the_later_points() -> None:
    early = [(10_000, 0), (50_000, 40_000)]
    later = [(100_000, 50_000), (200_000, 50_064), (300_000, 50_128)]

    assert growth_per_100k(early + later) == pytest.approx(64)
    assert growth_per_100k(later[:2]) is None


def test_two_workers_at_the_same_cost_are_worth_two() -> None:
    assert scaling([500.0, 480.0, 520.0], [1000.0]) == 2
    assert scaling([500.0], [500.0]) == 1


def test_spread_is_the_busiest_beside_the_idlest() -> None:
    assert spread([300, 200]) == 1.5
    assert spread([0, 7]) == 7


def test_record_is_read_back_with_its_conditions(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    assert load_record(path) is None
    save_record(path, {"figures": {"errors": 0}})

    record = load_record(path)
    assert record is not None
    assert record["figures"] == {"errors": 0}
    assert record["conditions"].keys() == conditions().keys()
