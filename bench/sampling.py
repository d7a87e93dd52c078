"""One sample: a server under load for a few seconds, and what its process tree used meanwhile."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.accounting import busy_seconds, cpu_seconds
from bench.load import apply_load
from bench.origin import SIZES
from bench.processes import Cores, Server

__all__ = ["LOADS", "LoadSpec", "Sample", "median_of", "take_sample"]

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What a sample asks for: a path of the origin, for how long, over how many connections."""

    path: str
    seconds: int
    connections: int

    @property
    def body_bytes(self) -> int:
        """Size of each answer's body; 12 bytes are counted as none."""
        return SIZES.get(self.path, 0)


LOADS = {"small": LoadSpec("/", 3, 32), "64k": LoadSpec("/64k", 2, 32), "1m": LoadSpec("/1m", 2, 8)}


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one sample.

    Attributes:
        requests, errors, seconds, p50_us, p99_us: as the load generator saw them.
        cpu_s: CPU seconds of the server's process tree; the origin's when it is asked directly.
        foreign: share of the two cores' time that neither server, origin nor generator used.
    """

    requests: int
    errors: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_s: float
    foreign: float
    body_bytes: int

    @property
    def requests_per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_us_per_request(self) -> float:
        """Microseconds of CPU for each request."""
        return self.cpu_s / max(1, self.requests) * 1e6

    @property
    def cpu_s_per_gib(self) -> float:
        """Seconds of CPU for each GiB of bodies."""
        return self.cpu_s / (max(1, self.requests) * self.body_bytes / GIB)


def take_sample(server: Server, origin: Server, spec: LoadSpec, cores: Cores) -> Sample:
    """Loads the server and counts. Raises GeneratorFailed."""
    pids = {server.pid, origin.pid}
    generator_s, used = _waited_for_s(), {pid: cpu_seconds(pid) for pid in pids}
    busy_s, began = busy_seconds(cores.all), time.monotonic()
    load = apply_load(server.port, spec.path, spec.seconds, spec.connections, cores.load)
    wall_s, busy_s = time.monotonic() - began, busy_seconds(cores.all) - busy_s
    used = {pid: cpu_seconds(pid) - before for pid, before in used.items()}
    generator_s = _waited_for_s() - generator_s
    foreign = (busy_s - sum(used.values()) - generator_s) / (wall_s * len(cores.all))
    return Sample(
        load.requests,
        load.errors,
        load.seconds,
        load.p50_us,
        load.p99_us,
        used[server.pid],
        max(0.0, foreign),
        spec.body_bytes,
    )


def _waited_for_s() -> float:
    """CPU time of the children that we have waited for: of the load generator, between two calls."""
    times = os.times()
    return times.children_user + times.children_system


def median_of(samples: Sequence[Sample], figure: str) -> float | None:
    """The median of one figure, None without samples."""
    values = [getattr(sample, figure) for sample in samples]
    return statistics.median(values) if values else None
