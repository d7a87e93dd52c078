"""Observations to render: one for each thing that an operator may find on the page."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from app.dashboard.observation import Column, Figures, Observation, Past
from app.deploy.conduct.canary_record import CanaryRecord
from app.deploy.record.history import Entry
from app.fleet.sight import FleetSight, NodeSight, Standing, standing_of
from app.metrics.recent import recent
from app.metrics.snapshot import FailoverStatus, InFlightRow, Latency, Probe, Snapshot, VersionStats, WorkerStats
from app.settings.tables.fleet_settings import FleetConfig
from app.state.model import BlueGreenState, VersionState, with_version

__all__ = ["AT", "command", "flight", "latency", "observation", "past", "probes", "snapshot", "state", "stats"]
__all__ += ["worker_stats"]

AT = 1_772_600_400.0
"""The wall time of every observation here."""


def latency(p50_ms: float | None = None, p95_ms: float | None = None, p99_ms: float | None = None) -> Latency:
    """Percentiles; the rest does not matter to the page."""
    return Latency(0, 0.0, p50_ms, p50_ms, p95_ms, p95_ms, p99_ms, p99_ms, ())


def stats(
    name: str, requests: int = 0, failed: int = 0, in_flight: int = 0, bytes_: int = 0, total: Latency | None = None
) -> VersionStats:
    """The figures of one version."""
    return VersionStats(
        name=name,
        requests=requests,
        failed=failed,
        aborted=0,
        cut=0,
        in_flight=in_flight,
        retries=0,
        held=0,
        held_ms=None,
        bytes_in=None,
        bytes_out=None,
        bytes_proxied=bytes_,
        code_classes={},
        causes={},
        statuses={},
        total=total or latency(),
        first_byte=None,
        upstream=None,
        holds=None,
    )


def snapshot(
    *versions: VersionStats,
    rows: Sequence[InFlightRow] = (),
    workers: Sequence[WorkerStats] = (),
    probes: dict[str, Sequence[Probe]] | None = None,
    fault: str = "",
    failover_from: str | None = None,
) -> Snapshot:
    """A snapshot with these versions; those not given did nothing."""
    given = {one.name: one for one in versions}
    found = {name: given.get(name, stats(name)) for name in ("blue", "green", "router")}
    overall = stats(
        "all",
        sum(one.requests for one in found.values()),
        sum(one.failed for one in found.values()),
        sum(one.in_flight for one in found.values()),
    )
    return Snapshot(
        at=AT,
        window_s=None,
        uptime_s=90_000.0,
        versions=found,
        overall=overall,
        rows=rows,
        cuts=(),
        workers=workers,
        probes={"blue": (), "green": (), **(probes or {})},
        failover=FailoverStatus(failover_from, 1 if failover_from else 0, None, 1),
        state_fault=False,
        fault=fault,
    )


def worker_stats(
    pid: int, requests: int = 0, in_flight: int = 0, *, held: int = 0, is_leader: bool = False
) -> WorkerStats:
    """A worker that started an hour ago."""
    known = dict.fromkeys(WorkerStats._fields, 0)
    own = {"pid": pid, "role": "worker", "started_at": AT - 3700, "heartbeat_age_s": 0.4, "is_leader": is_leader}
    return WorkerStats(**{**known, **own, "requests": requests, "in_flight": in_flight, "held": held})  # type: ignore[arg-type]  # by name


def probes(outcomes: str, reason: str = "connection refused", status: int = 200) -> list[Probe]:
    """Health checks, the newest last, 5 s apart: "+" is a good one, "-" a failed one."""
    count = len(outcomes)
    return [
        Probe(AT - 5 * (count - 1 - index), one == "+", status if one == "+" else 0, 3.4, "" if one == "+" else reason)
        for index, one in enumerate(outcomes)
    ]


def flight(version: str, age_s: float, path: str = "/reports/yearly", pid: int = 4101) -> InFlightRow:
    """A request in flight."""
    return InFlightRow(version, "GET", path, age_s, pid)


def state(active: str | None = "blue", switched_ago_s: float | None = None, **versions: str) -> BlueGreenState:
    """A state; `versions` are statuses by name, running where none is given."""
    found = BlueGreenState(
        active_version=active,
        previous_version=None if switched_ago_s is None or active is None else {"blue": "green"}.get(active, "blue"),
        switched_at=None if switched_ago_s is None else AT - switched_ago_s,
    )
    for name, release, pid in (("blue", "1.4.2", 4011), ("green", "1.5.0", 4012)):
        status: VersionState = replace(found.version(name), status=versions.get(name, "running"))  # type: ignore[arg-type]  # a name of a status
        found = with_version(
            found,
            name,
            status=status.status,
            release=release,
            pid=pid,
            started_at=AT - 11_520,
            pid_birth="9f1c60d2-8123345",
        )
    return found


def past(step_s: int = 2, columns: Sequence[Column] = ()) -> Past:
    """A span of the charts; empty where no columns are given."""
    return Past(step_s, AT, columns or (Column(),) * 300)


def command(operation: str, ago_s: float, target: str = "green", **changes: object) -> Entry:
    """A deploy command that came to a good end."""
    entry = Entry(
        id=f"{operation}-{ago_s}",
        at=AT - ago_s,
        who="deploy",
        pid=1,
        command=f"blue_green_deploy {operation} {target}",
        operation=operation,
        target=target,
        came_from="blue",
        goes_to=target,
        release="1.5.0",
        phase="gating",
        outcome="done",
        detail="",
        duration_s=2.4,
    )
    return entry._replace(**changes)  # type: ignore[arg-type]  # fields of an entry


def rollout(evidence: float = 37.0, salt: str = "r42") -> CanaryRecord:
    """A canary that waits, as green has failed more often."""
    counts = {
        "unit": "request",
        "canary": {"completed": 640, "failed": 12, "slow50": 330, "slow95": 35},
        "stable": {"completed": 12_160, "failed": 20, "slow50": 6_100, "slow95": 601},
        "evidence": {"all": evidence},
        "needed": 100.0,
    }
    text = (
        "green 1.5.0 has 5 %: 12 of 640 requests failed (1.9 %), blue 1.4.2 20 of 12,160 (0.16 %). "
        f"Evidence {evidence:.0f} of the 100 that a rollback needs; held until it is clear."
    )
    names = ("green 1.5.0", "blue 1.4.2")
    reason = "held until it is clear"
    return CanaryRecord(salt, *names, AT, 1, None, "hold", reason, text, "25 %", [100, 500, 2500], counts, {})


def fleet(heard_ago_s: float = 2.0, **changes: object) -> tuple[FleetSight, Standing]:
    """Three machines; web-2 has not come to what is committed."""
    well = NodeSight("1.5.0", "green", True, 3, 7, router="1.0.0")
    nodes = {"web-1": well, "web-2": well._replace(epoch=6, release="1.4.2", is_well=None), "web-3": well}
    sight = FleetSight("shop", "web-1", AT - heard_ago_s, AT - heard_ago_s, "", well, 7, "1.5.0", nodes=nodes)
    sight = sight._replace(**changes)  # type: ignore[arg-type]  # fields of a sight
    return sight, standing_of(sight, FleetConfig(name="shop", endpoints=("http://10.0.0.1:2379",)), AT)


def observation(**changes: object) -> Observation:
    """Blue serves, green stands by, nothing was ever asked."""
    quiet = snapshot(probes={"blue": probes("++++++++"), "green": probes("++++++++")})
    seen = Observation(
        at=AT,
        state=state(),
        state_fault="",
        lifetime=quiet,
        minute=quiet,
        short=past(),
        long=past(60, (Column(),) * 360),
    )
    seen = replace(seen, **changes)  # type: ignore[arg-type]  # fields of an observation
    active = seen.state.active_version if seen.state is not None else None
    if "recent" in changes or active is None:
        return seen
    return replace(seen, recent=recent(seen.minute.versions[active], seen.minute.failures))


def day(columns: int, rate: float, step_s: int, moved_at: float = 2.0, seed: int = 7) -> tuple[Column, ...]:
    """Columns of a busy router that moves from blue to green at that share of the time."""
    dice = random.Random(seed)
    found = []
    for index in range(columns):
        share = index / columns
        wave = 0.75 + 0.25 * math.sin(share * 9) + dice.gauss(0, 0.05)
        requests = max(0, round(rate * step_s * wave))
        slow = dice.expovariate(1 / 20)
        busy = Figures(requests, round(requests * 0.002), 12 + dice.random() * 4, 40 + slow, 3 + round(slow / 8))
        left = max(0, round(14 * (1 - (share - moved_at) * columns / 18))) if share >= moved_at else 0
        rest = Figures(0, 0, None, None, left)
        is_blue = share < moved_at
        found.append(Column(blue=busy if is_blue else rest, green=rest if is_blue else busy))
    return tuple(found)
