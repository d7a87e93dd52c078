"""The router alone, in twenty seconds, beside the run before. It prints and never judges.

Usage: bench-quick [--keep]

Options:
  --keep  leave the recorded run as it is, to compare several runs with one
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.accounting import memory
from bench.benchmark import Bench
from bench.load import apply_load, generator
from bench.record import LAST, conditions, load_record, save_record
from bench.sampling import LoadSpec, take_sample
from bench.table import figure, ratio, render_table

__all__ = ["NAMES", "render_quick", "run"]

# Figures by name: how they are called and how many digits say something.
NAMES = {
    "cpu_us_per_request": ("CPU µs per request", 1),
    "requests_per_s": ("requests per second", 0),
    "p50_us": ("p50 µs, 32 connections", 0),
    "p99_us": ("p99 µs, 32 connections", 0),
    "cpu_s_per_gib_64k": ("CPU s per GiB, 64 KiB bodies", 2),
    "cpu_s_per_gib_1m": ("CPU s per GiB, 1 MiB bodies", 2),
    "rss_mib": ("RSS MiB, master and worker", 0),
    "errors": ("errors", 0),
    "foreign": ("share of both cores that others used", 2),
}


def measure(bench: Bench) -> dict[str, float]:
    """All figures of one run."""
    cores = bench.cores
    with bench.origin_and_router() as (origin, us):
        apply_load(us.port, "/", 1, 32, cores.load)
        small = take_sample(us, origin, LoadSpec("/", 8, 32), cores)
        medium = take_sample(us, origin, LoadSpec("/64k", 3, 32), cores)
        large = take_sample(us, origin, LoadSpec("/1m", 3, 8), cores)
        rss_kib = memory(us.pid).rss_kib
    return {
        "cpu_us_per_request": small.cpu_us_per_request,
        "requests_per_s": small.requests_per_s,
        "p50_us": small.p50_us,
        "p99_us": small.p99_us,
        "cpu_s_per_gib_64k": medium.cpu_s_per_gib,
        "cpu_s_per_gib_1m": large.cpu_s_per_gib,
        "rss_mib": rss_kib / 1024,
        "errors": small.errors + medium.errors + large.errors,
        "foreign": max(small.foreign, medium.foreign, large.foreign),
    }


def render_quick(now: Mapping[str, float], before: Mapping[str, float]) -> str:
    """The figures of this run, those of the run before where there are any, and how many times the one is the other."""
    rows = []
    for name, (title, digits) in NAMES.items():
        was = before.get(name)
        rows.append([title, figure(was, digits), figure(now[name], digits), ratio(now[name], was)])
    return render_table(("figure", "before", "now", "now / before"), rows)


def run(bench: Bench) -> None:
    """Measures, prints, records."""
    before: dict[str, Any] = load_record(LAST) or {"conditions": {}, "figures": {}}
    here = conditions()
    figures = measure(bench)
    for name, value in here.items():
        print(f"{name}: {value}" + _changed(value, before["conditions"].get(name)))
    print(f"load: {generator()}\n\n{render_quick(figures, before['figures'])}\n")
    if not before["figures"]:
        print("No run was recorded before this one.")
    if not bench.options["--keep"] or not before["figures"]:
        save_record(LAST, {"figures": figures})


def _changed(now: str, before: str | None) -> str:
    return "" if before in (None, now) else f" (before: {before})"
