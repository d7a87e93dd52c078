"""The page as values: what its templates show of an observation, decided and put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.canary.course import percent
from app.dashboard.backend_list import BackendLine, backend_lines
from app.dashboard.observation import Observation
from app.dashboard.sentence import own_probes
from app.dashboard.words import clock_text, count_text, ms_text, percent_text, printable, rate_text, when_text
from app.deploy.processes.reconcile import ending_text
from app.deploy.record.history import DOUBTFUL, Entry
from app.metrics.snapshot import FailedRequest, InFlightRow, Probe, VersionStats
from app.settings.engine import Setting, shown
from app.settings.loading import Loaded
from app.situation import Grade, named
from app.state.model import VERSIONS, VersionState
from app.survey import failing_probes
from app.units import GAP, NONE, bytes_text, duration_text

__all__ = [
    "Card",
    "Check",
    "Row",
    "cards",
    "commands",
    "failed",
    "in_flight",
    "login_keys",
    "logins",
    "notices",
    "settings",
]
__all__ += ["headline", "workers"]

Row = tuple[str, ...]
"""The cells of one line of a table."""

RATE_COLUMNS = 5
"""The rate on a card is that of the last ten seconds: steady enough to read, quick enough for a switch."""

MAX_IN_FLIGHT = 20
MAX_KEYS = 5
MAX_FAILED = 10
MAX_COMMANDS = 30

_PROGRAM = "blue_green_deploy "
"""What nearly all commands begin with, and nobody needs to read thirty times."""


@dataclass(frozen=True, slots=True)
class Check:
    """One health check: "ok", "failed", or "off" where nobody expected an answer; and all about it in words."""

    outcome: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown of one version.

    `is_reached`: new requests go to it. `tone` is "good", "bad", "busy" or "off". `figures` are the large ones,
    `percentiles` those of the last minute. `backends` is empty for a version that has one.
    """

    name: str
    title: str
    is_active: bool
    is_reached: bool
    role: str
    status: str
    tone: str
    facts: Sequence[Row]
    figures: Sequence[tuple[str, str, str]]
    percentiles: Sequence[Row]
    totals: Sequence[Row]
    backends: Sequence[BackendLine]
    checks: Sequence[Check]
    last_check: str


def cards(seen: Observation) -> list[Card]:
    """Blue and green, in this order whatever is active: a card must not change its place in mid-deploy."""
    return [_card(seen, name) for name in VERSIONS]


def _card(seen: Observation, name: str) -> Card:
    version = seen.state.version(name) if seen.state is not None else None
    is_active = seen.state is not None and seen.state.active_version == name
    minute, lifetime = seen.minute.versions[name], seen.lifetime.versions[name]
    probes = seen.minute.probes[name]
    stands_in, held_back = _stands_in(seen, name), _HELD_BACK.get(seen.situation.word, "") if is_active else ""
    status, tone = _status(seen, version, is_active=is_active)
    return Card(
        name=name,
        title=name.capitalize(),
        is_active=is_active,
        is_reached=stands_in or (is_active and not held_back and seen.minute.failover.version != name),
        role=f"Active{held_back}" if is_active else _role(seen, minute.in_flight, stands_in=stands_in),
        status=status,
        tone=tone,
        facts=_facts(seen, version),
        figures=(
            (rate_text(_rate(seen, name)) if seen.metrics_on else NONE, "requests/s", ""),
            (count_text(minute.in_flight), "in flight", (is_active and _held(seen)) or _oldest(seen, name)),
            (percent_text(minute.successful, minute.requests), "succeeded", "last minute"),
        ),
        percentiles=_percentiles(minute),
        totals=[(label, value if seen.metrics_on else NONE) for label, value in _totals(lifetime)],
        backends=backend_lines(seen, name),
        checks=[_check(probe, is_expected=_is_expected(version, probe, is_active=is_active)) for probe in probes],
        last_check=_last_check(version, probes, is_active=is_active),
    )


def _stands_in(seen: Observation, name: str) -> bool:
    """Whether it has the traffic of the other version, which is active and down."""
    active, failover = seen.state.active_version if seen.state is not None else None, seen.minute.failover
    return active is not None and failover.version == active != name


_HELD_BACK = {"maintenance": ", in maintenance", "paused": ", paused"}
"""What is said of the active version in a situation in which its requests do not come to it."""


def _role(seen: Observation, in_flight: int, *, stands_in: bool) -> str:
    if stands_in:
        return "Standing in"
    if share := seen.state.shared_at(seen.at) if seen.state is not None else 0:
        return f"Canary, {percent(share)}"
    return "Draining" if in_flight else "Standby"


def _status(seen: Observation, version: VersionState | None, *, is_active: bool) -> tuple[str, str]:
    """The version's state in words, and how good that is."""
    if version is None:
        return "Unknown", "off"
    probes = own_probes(seen, version)
    recorded = version.status
    if recorded == "crashed":
        restarts = seen.restarts.get(version.name)
        if restarts is not None and restarts.next_at is not None:
            return "Crashed, starts again", "bad"
        status = "" if version.exit_status is None else f", {ending_text(version.exit_status)}"
        return f"Crashed{status}", "bad"
    if recorded in ("starting", "stopping"):
        return recorded.capitalize(), "busy"
    failing = failing_probes(probes)
    if probes and not failing:
        if is_active and seen.situation.word == "erring":
            return f"Healthy, but {100 * seen.recent.failed / seen.recent.requests:.0f}{GAP}% fail", "bad"
        if is_active and seen.situation.word == "slow":
            return "Healthy, but slow", "bad"
        rows = seen.minute.backends.get(version.name, ())
        if out := sum(row.is_out for row in rows):
            return f"Healthy, {out} of {len(rows)} out", "busy"
        return "Healthy", "good"
    if recorded == "running" or (is_active and failing):
        return ("Not checked yet", "busy") if not probes else (f"Failing for {_checks(failing)}", "bad")
    return "Not answering" if version.name in seen.elsewhere else "Stopped", "off"


def _checks(count: int) -> str:
    return "1 check" if count == 1 else f"{count} checks"


def _facts(seen: Observation, version: VersionState | None) -> list[Row]:
    if version is None:
        return [("Release", NONE), ("Port", NONE), ("Pid", NONE), ("Up", NONE)]
    if where := seen.elsewhere.get(version.name):
        at = where[0] if len(where) == 1 else f"{len(where)} backends"
        return [("Release", printable(version.release or NONE)), ("At", printable(at))]
    has_process = version.status in ("running", "starting", "stopping")
    uptime = duration_text(seen.at - version.started_at) if has_process and version.started_at else NONE
    pid = str(version.pid) if has_process and version.pid else NONE
    up, restarts = "Up", seen.restarts.get(version.name)
    if has_process and restarts is not None and restarts.times:
        up = f"Up, {restarts.times} restart{'s'[: restarts.times > 1]}"
    return [("Release", printable(version.release or NONE)), ("Port", str(version.port)), ("Pid", pid), (up, uptime)]


def _rate(seen: Observation, name: str) -> float:
    columns = seen.short.columns[-RATE_COLUMNS:]
    return sum(column.of(name).requests for column in columns) / (len(columns) * seen.short.step_s)


def _held(seen: Observation) -> str:
    return f"{count_text(seen.minute.held)} held" if seen.minute.held else ""


def _oldest(seen: Observation, name: str) -> str:
    age = next((row.age_s for row in seen.minute.rows if row.version == name), None)
    return "" if age is None or age < 1 else f"oldest {duration_text(age)}"


def _percentiles(stats: VersionStats) -> list[Row]:
    total = stats.total
    return [("p50", ms_text(total.p50_ms)), ("p95", ms_text(total.p95_ms)), ("p99", ms_text(total.p99_ms))]


def _totals(stats: VersionStats) -> list[Row]:
    return [
        ("Total", count_text(stats.requests)),
        ("Failed", count_text(stats.failed)),
        ("Bytes", bytes_text(stats.bytes_proxied)),
    ]


def _is_expected(version: VersionState | None, probe: Probe, *, is_active: bool) -> bool:
    """Whether an answer was: not of a standby that is stopped or starts, and of no process before this one."""
    if version is None or version.status == "crashed":
        return True
    is_up = is_active or version.status == "running"
    return is_up and (version.status == "stopped" or probe.at >= (version.started_at or 0.0))


def _check(probe: Probe, *, is_expected: bool) -> Check:
    outcome = "ok" if probe.ok else "failed" if is_expected else "off"
    said = f"status {probe.status}" if probe.status else "no answer"
    reason = f": {probe.reason}" if probe.reason and not probe.ok else ""
    word = "no answer expected" if outcome == "off" else outcome
    return Check(outcome, f"{clock_text(probe.at)} {word}, {said}, {ms_text(probe.latency_ms)}{reason}")


def _last_check(version: VersionState | None, probes: Sequence[Probe], *, is_active: bool) -> str:
    """When the last health check was and how long it took, or why it failed."""
    if not probes:
        return "no health check yet"
    last = probes[-1]
    if not last.ok and version is not None and version.status == "stopped" and not is_active:
        return "no answer expected"
    said = ms_text(last.latency_ms) if last.ok else last.reason or f"status {last.status}"
    return f"{clock_text(last.at)} · {said}"


# --- the rest of the page --------------------------------------------------------------------------------


def notices(seen: Observation) -> list[str]:
    """What is wrong with the router itself."""
    found = []
    if seen.state_fault and seen.state is not None:  # without a state the sentence says why
        found.append(f"State: {seen.state_fault}")
    if seen.minute.fault:
        found.append(f"Metrics: {seen.minute.fault}")
    if seen.minute.log_fault:
        found.append("Access log: a worker cannot write it, so lines are lost; the router's log has the reason.")
    if not seen.metrics_on:
        found.append("Metrics are off (metrics_enabled = false): only what is in flight is counted.")
    return found


def _where(seen: Observation, one: InFlightRow | FailedRequest) -> str:
    """The version that has or had a request, and which of its backends."""
    return f"{one.version} {seen.minute.address_of(one)}".rstrip()


def in_flight(seen: Observation) -> list[Row]:
    """Version, method, path, age, id and worker of the oldest requests in flight."""
    return [
        (_where(seen, row), row.method, row.path, _age_text(row.age_s), row.request_id or NONE, str(row.pid))
        for row in seen.minute.rows[:MAX_IN_FLIGHT]
    ]


def failed(seen: Observation) -> list[Row]:
    """When, version, status, cause, method, path, time taken and id of the last failed requests, newest first."""
    return [
        (
            when_text(one.at, seen.at),
            _where(seen, one),
            str(one.status or NONE),
            one.cause or "its own",
            one.method,
            one.path,
            ms_text(one.took_ms),
            one.request_id or NONE,
        )
        for one in reversed(seen.minute.failures[-MAX_FAILED:])
    ]


def _age_text(seconds: float) -> str:
    return f"{seconds:.1f}{GAP}s" if seconds < 10 else duration_text(seconds)


def limits(seen: Observation) -> list[Row]:
    """Name, requests let through, refused, delayed and refused but for a dry run, and the keys refused last.

    What has refused most comes first.
    """
    figures = sorted(seen.minute.limits, key=lambda limit: -(limit.refused + limit.would_refuse))
    return [(limit.name, *map(count_text, limit[1:]), _refused_keys(seen, limit.name)) for limit in figures]


def _refused_keys(seen: Observation, limit: str) -> str:
    found = [one for one in seen.minute.refused if one.limit == limit][:MAX_KEYS]
    told = (f"{one.key} ({_times_text(one.times)}, {_age_text(one.ago_s)} ago)" for one in found)
    return ", ".join(told) or NONE


def _times_text(times: int) -> str:
    return "once" if times == 1 else f"{count_text(times)} times"


def logins(seen: Observation) -> list[Row]:
    """What logins have said, how often, and how often they would have in mode observe; the most frequent refusal first.

    Only of what has happened.
    """
    figures = seen.minute.logins
    if figures is None:
        return []
    refused, observed = figures.refused, figures.observed
    found = sorted((reason for reason in refused if refused[reason] or observed[reason]), key=lambda it: -refused[it])
    rows = [(reason, count_text(refused[reason]), count_text(observed[reason])) for reason in found]
    return [("let through", count_text(figures.passed), ""), *rows]


def login_keys(seen: Observation) -> list[Row]:
    """Tone, source, number, age and fault of the keys that tokens are verified with."""
    figures = seen.minute.logins
    return [
        (
            "bad" if not one.keys else "busy" if one.fault else "good",
            one.source,
            count_text(one.keys),
            "never" if one.age_s is None else f"{_age_text(one.age_s)} ago",
            one.fault or NONE,
        )
        for one in (figures.keys if figures is not None else ())
    ]


def commands(seen: Observation) -> list[Row]:
    """Tone, time, command, move, outcome, duration and who of the last deploy commands, newest first."""
    running = {entry.id for entry in seen.at_work}
    return [_command(entry, entry.id in running, seen.at) for entry in list(reversed(seen.commands))[:MAX_COMMANDS]]


_OUTCOME_TONES = {"done": "good", DOUBTFUL: "busy"}


def _command(entry: Entry, is_running: bool, now: float) -> Row:
    if entry.outcome is not None:
        tone = _OUTCOME_TONES.get(entry.outcome, "bad")
        outcome = f"{entry.outcome}: {entry.detail}" if entry.detail else entry.outcome
    elif is_running:
        tone, outcome = "busy", f"at work: {entry.phase or 'beginning'}"
    else:
        tone, outcome = "bad", f"did not come to its end, last seen {entry.phase or 'beginning'}"
    has_moved = (entry.has_switched or is_running) and entry.goes_to not in (None, entry.came_from)
    moved = f"{entry.came_from or 'none'} → {entry.goes_to}" if has_moved else ""
    took_s = now - entry.at if is_running else entry.duration_s
    took = NONE if took_s is None else _age_text(took_s)
    return tone, when_text(entry.at, now), entry.command.removeprefix(_PROGRAM), moved, outcome, took, entry.who


def workers(seen: Observation) -> list[Row]:
    """Tone, pid, what it is, requests per second, requests, in flight, uptime and heartbeat of each worker."""
    return [
        (
            "good" if worker.heartbeat_age_s < 5 else "bad",
            str(worker.pid),
            f"{worker.role}, leads" if worker.is_leader else worker.role,
            _worker_rate(seen, worker.pid),
            count_text(worker.requests),
            count_text(worker.in_flight),
            duration_text(seen.at - worker.started_at),
            f"{worker.heartbeat_age_s:.0f}{GAP}s ago",
        )
        for worker in seen.minute.workers
    ]


def _worker_rate(seen: Observation, pid: int) -> str:
    rate = seen.worker_rates.get(pid)
    return NONE if rate is None else rate_text(rate)


def settings(loaded: Loaded) -> list[Row]:
    """Name, value and source of every setting; secrets are masked."""
    return [(name, _setting_text(about, value), source) for name, about, value, source in loaded.rows()]


def _setting_text(about: Setting, value: object) -> str:
    """The value, and what it stands for where 0 or nothing has a meaning of its own."""
    return f"{shown(about, value)} · {about.zero}" if about.zero and not value else shown(about, value)


def headline(seen: Observation) -> str:
    """What stands in the browser's tab: Blue 1.4.2, after a word where all is not well."""
    state = seen.state
    if state is None or state.active is None:
        return "No active version"
    is_plain = seen.situation.kind.grade is Grade.OK
    return named(state.active) if is_plain else f"{seen.situation.word.capitalize()}: {named(state.active)}"
