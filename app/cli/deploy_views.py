"""What the deploy commands know, for people and for programs: the versions, their health, the history."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from app.address import Address
from app.canary.course import percent
from app.cli.backend_view import backend_text
from app.cli.deploy_listeners import Listener, health_text, listener_json, listener_lines
from app.cli.router_process import RunningRouter
from app.cli.terminal import bold, dim, heading, mark, moment_text
from app.command_line import PROGRAM
from app.deploy.processes.log_file import tail
from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import ending_text, ends_of_crashed, restarts_of, restarts_text
from app.deploy.release.current_link import Link
from app.deploy.traffic import Traffic
from app.facts import Checks, Facts, Recent
from app.metrics.backend_rows import BackendRow
from app.metrics.exposition import backends_member
from app.situation import HELD_BACK, Grade, Situation, decide, situation_json
from app.state.given_up import given_up
from app.state.model import BlueGreenState, VersionState, other
from app.units import plain
from app.upstream.probe import ProbeResult, best_of

__all__ = [
    "Checked",
    "Overview",
    "age_text",
    "checked_json",
    "health_json",
    "health_lines",
    "release_text",
    "status_json",
    "status_text",
]

_CRASH_LOG_LINES = 5

Checked = Mapping[Address, ProbeResult]
"""The health check of each backend of a version, at least one."""


@dataclass(frozen=True)
class Overview:
    """One look at a deployment: what is recorded, what is found, what the versions answer."""

    state: BlueGreenState
    checks: Mapping[str, Checked]
    """By version; a version that cannot be expected to answer is not in it."""
    backends: Mapping[str, tuple[Address, ...]]
    """By version, those that are named for it; none of one that listens on its port here."""
    elsewhere: Mapping[str, Sequence[str]]
    """By version that others run, where, as it is written."""
    rows: Mapping[str, Sequence[BackendRow]]
    """By version that has several backends, how a router that runs finds each."""
    traffic: Traffic | None
    router: RunningRouter | None
    state_file: Path
    logs: Mapping[str, Path]
    environments: Mapping[str, str | None]
    """By version, the digest of what it was started with; never the environment itself."""
    link: Link | None = None
    """The link `[release] current`, where there is one."""
    fault: str = ""
    """Why this is the last good state and not what the state file says."""
    differs: str = ""
    """Where the settings and the state name different things."""
    name: str = ""
    """The deployment's, where it has one."""
    found: Mapping[str, Found] = field(default_factory=dict)
    """What the versions' processes are found to do."""
    listeners: Mapping[str, list[Listener]] = field(default_factory=dict)
    """By version; none of one that is a single process on its port."""
    fleet: Mapping[str, object] | None = None
    """How the machine stands to its fleet (`app.fleet.sight.fleet_json`), where it belongs to one."""

    @cached_property
    def health(self) -> Mapping[str, ProbeResult]:
        """How each of these versions is: well while one of its backends is."""
        return {name: best_of(checked.values()) for name, checked in self.checks.items()}

    def rows_of(self, name: str) -> Mapping[str, BackendRow]:
        """How the router finds each backend of a version, by its address; nothing where that is not known."""
        return {row.address: row for row in self.rows.get(name, ())}

    def in_flight(self, name: str) -> int | None:
        """The requests in flight on a version; None when no router runs."""
        return None if self.traffic is None else self.traffic.in_flight(name)

    @property
    def held(self) -> int | None:
        """The requests that are held back just now; None when no router runs."""
        return None if self.traffic is None else self.traffic.held()

    @property
    def failover(self) -> str | None:
        """The active version while its requests go to the standby; a switch has ended that when another is active."""
        away_from = None if self.traffic is None else self.traffic.failover()
        return away_from if away_from == self.state.active_version else None

    def _recent(self) -> Recent:
        """How the active version does."""
        active = self.state.active
        if self.traffic is None or active is None:
            return Recent()
        return self.traffic.recent(active.name, active.lived_s(time.time()))

    @cached_property
    def situation(self) -> Situation:
        """What state the deployment is in."""
        state, traffic, health = self.state, self.traffic, self.health
        rows = {name: traffic.in_flight_rows(name) for name in state.versions} if traffic is not None else {}
        return decide(
            Facts(
                at=time.time(),
                state=state,
                state_fault=self.fault,
                silence="" if self.router is not None or traffic is not None else "none runs for this state file",
                checks={name: Checks(int(not result.ok), result.reason) for name, result in health.items()},
                failover_from=self.failover,
                held=self.held or 0,
                recent=self._recent(),
                in_flight={name: self.in_flight(name) or 0 for name in state.versions},
                oldest_s={name: found[0].age_s for name, found in rows.items() if found},
                ended_at=ends_of_crashed(state, self.found) if self.found else {},
                restarts=restarts_of(self.found),
                backends=self.rows,
                elsewhere=self.elsewhere,
            )
        )


# --- status ----------------------------------------------------------------------------------------------


def status_json(overview: Overview) -> dict[str, object]:
    """Everything that `status` shows."""
    state, router = overview.state, overview.router
    return {
        "situation": situation_json(overview.situation),
        "active_version": state.active_version,
        "previous_version": state.previous_version,
        "switched_at": state.switched_at,
        "serial": state.serial,
        "state_file": str(overview.state_file),
        "state_fault": overview.fault or None,
        "pause": state.pause._asdict() if state.pause else None,
        "maintenance": state.maintenance._asdict() if state.maintenance else None,
        "current": overview.link._asdict() if overview.link else None,
        "router": {"pid": router.pid, "port": router.port} if router else None,
        "differs": overview.differs or None,
        "held": overview.held,
        "failover": overview.failover,
        "versions": {name: _version_json(overview, version) for name, version in state.versions.items()},
        **({"split": state.split.as_json()} if state.split is not None else {}),
        **({"fleet": overview.fleet} if overview.fleet is not None else {}),
    }


def _version_json(overview: Overview, version: VersionState) -> dict[str, object]:
    name = version.name
    health, found = overview.health.get(name), overview.found.get(name)
    ours, rows = overview.listeners.get(name, []), overview.rows_of(name)
    checked = overview.checks.get(name, {})
    return {
        "role": _role(overview.state, name),
        "status": version.status,
        "port": version.port,
        "backends": [str(address) for address in overview.backends[name]],
        **backends_member(overview.rows.get(name, ()), "backend_states"),
        "pid": version.pid if version.status in _LIVING else None,
        "release": version.release,
        "revision": version.revision,
        "rolled_back_at": version.rolled_back_at,
        "started_at": version.started_at,
        "exit_status": version.exit_status,
        "restarts": found.restarts._asdict() if found is not None and found.restarts is not None else None,
        "dir": version.dir,
        "command": version.command,
        "directory": version.directory,
        "record": version.record,
        "environment_digest": overview.environments.get(name),
        "health": checked_json(overview.checks[name]) if health else None,
        "in_flight": overview.in_flight(name),
        "log": str(overview.logs[name]),
        **({"drained": list(version.drained)} if version.drained else {}),
        **(
            {"instances": [listener_json(one, checked.get(one.address), rows.get(str(one.address))) for one in ours]}
            if ours
            else {}
        ),
    }


def status_text(overview: Overview) -> str:
    """The ruled block: each version, then the router, then what to do next."""
    state = overview.state
    lines = [heading("BLUE-GREEN STATUS", overview.name), *_mode_lines(state)]
    if overview.fault:
        lines += ["❌ The state file is broken: this is the last good state, by which the router goes on", ""]
    for version in state.versions.values():
        lines += _version_lines(overview, version)
    lines.append("")
    lines.append(_router_line(overview))
    lines += _config_lines(overview)
    if overview.fleet is not None:
        lines.append(_fleet_line(overview.fleet))
    if overview.held:
        lines.append(f"   Held: {overview.held}")
    if overview.failover:
        lines.append(f"⚠️  FAILOVER: {overview.failover} is down, requests go to {other(overview.failover)}")
    if state.previous_version and state.previous_version != state.active_version:
        warning = given_up(state.version(state.previous_version), time.time())
        lines.append(f"   Rollback goes to: {state.previous_version}" + (f", but {warning}" if warning else ""))
    if state.switched_at:
        lines.append(f"   Last switch: {age_text(time.time() - state.switched_at)} ago")
    if not overview.fault:  # what mends the file comes first, and is said with the fault
        lines += _situation_lines(overview)
    return "\n".join(lines)


def _router_line(overview: Overview) -> str:
    if overview.router:
        return f"✅ Router: running on port {overview.router.port} (pid {overview.router.pid})"
    if overview.traffic is not None:
        return "⚠️  Router: running, but its pid file is gone: stop, reload and upgrade cannot find it"
    return "⏹️  Router: not running"


def _fleet_line(fleet: Mapping[str, object]) -> str:
    """The fleet as the agent last saw it."""
    doubts = ("isolated", "fenced", "behind", "diverged", "drained", "alarm")
    nodes = fleet["nodes"]
    count = len(nodes) if isinstance(nodes, Mapping) else 0
    who = f"{fleet['name']}, node {fleet['node']}" if fleet["name"] else "not seen yet"
    sign = "⚠️ " if any(fleet[name] for name in doubts) else "  "
    said = f"; {fleet['alarm']}" if fleet["alarm"] else ""
    return f"{sign} Fleet: {who}, {count} node{'' if count == 1 else 's'}: {fleet['sentence']}{said}"


def _config_lines(overview: Overview) -> list[str]:
    """How the settings and what they name fit the state."""
    lines = [_link_text(overview.link, overview.state)] if overview.link else []
    if differs := overview.differs:
        lines.append(f"⚠️  {differs[0].upper()}{differs[1:]}")
    return lines


def _situation_lines(overview: Overview) -> list[str]:
    """What is wrong and the command that helps; the modes have said at the top what they are and how they end."""
    now, lines = overview.situation, list[str]()
    if now.word == "new":  # or somebody asks in the wrong place
        first, _, more = now.text.partition(".")
        lines.append(f"   {first}: there is no {overview.state_file.absolute()}")
        lines += [f"  {more}"] if more else []
    if now.kind.exit_code == HELD_BACK and now.advice.endswith(("maintenance off", "resume")):
        return lines
    if now.kind.grade is not Grade.OK:
        lines.append(f"{'❌' if now.kind.grade is Grade.NO_TRAFFIC else '⚠️ '} {plain(now.text)}")
    if now.advice:
        lines.append(f"   Try: {now.advice}")
    return lines


def _link_text(link: Link, state: BlueGreenState) -> str:
    if link.in_order:
        return f"🔗 {link.path} → {link.leads_to}"
    leads = f"leads to {link.leads_to}" if link.leads_to else "is no link"
    return f"⚠️  {link.path} {leads}, and {state.active_version} runs in {link.expected}; the next command moves it"


def _mode_lines(state: BlueGreenState) -> list[str]:
    """What everybody should know who looks: that requests wait, get the maintenance page, or are shared out."""
    lines, now = list[str](), time.time()
    if (pause := state.pause_at(now)) is not None:
        lines += [
            f"⏸️  PAUSED: new requests wait, for {age_text(now - pause.since)} so far",
            f"   They flow again in {pause.until - now:.0f} s, or with: {PROGRAM} resume",
            "",
        ]
    if (maintenance := state.maintenance_at(now)) is not None:
        lines.append(f"🚧 MAINTENANCE: clients get 503, for {age_text(now - maintenance.since)} so far")
        if maintenance.message:
            lines.append(f"   The page says: {maintenance.message}")
        if maintenance.allow:
            lines.append(f"   Let through: {', '.join(maintenance.allow)}")
        ends = f"It ends at {moment_text(maintenance.until)}, or" if maintenance.until else "Take it down"
        lines += [f"   {ends} with: {PROGRAM} maintenance off", ""]
    if state.split is not None and (share := state.shared_at(now)):
        lines += [
            f"🐤 SHARED: {state.split.canary} has {percent(share)} of the requests",
            f"   How it does: {PROGRAM} canary status; to end it: {PROGRAM} canary abort",
            "",
        ]
    return lines


_LIVING = frozenset({"starting", "running", "stopping"})


def _version_lines(overview: Overview, version: VersionState) -> list[str]:
    name, health = version.name, overview.health.get(version.name)
    sign, word = _judgement(version, health)
    lines = [f"{sign} {bold(name)} ({_role(overview.state, name)}): {word}", *_place_lines(overview, version)]
    if version.status in _LIVING and version.pid is not None and not overview.listeners.get(name):
        since = f", for {age_text(time.time() - version.started_at)}" if version.started_at else ""
        lines.append(f"   Process: pid {version.pid}{since}")
    found = overview.found.get(name)
    if found is not None and not version.instances and (restarts := restarts_text(found.restarts, time.time())):
        lines.append(f"   Restarts: {restarts}")
    if release := release_text(version):
        lines.append(f"   Release: {release}")
    if version.directory:
        lines.append(f"   Directory: {version.directory}")
    if health and not version.instances:
        lines.append(f"   Health: {health_text(health)}")
    in_flight = overview.in_flight(name)
    if in_flight:
        lines.append(f"   In flight: {in_flight}")
    log = overview.logs[name]
    if log.exists():
        lines.append(f"   Log: {_short(log)}")
    if version.status == "crashed":
        lines += [dim(f"   | {line}") for line in tail(log, _CRASH_LOG_LINES)]
    return lines


def _place_lines(overview: Overview, version: VersionState) -> list[str]:
    """Where it listens; of several backends how each is."""
    named, checked = overview.backends[version.name], overview.checks.get(version.name, {})
    listeners, rows = overview.listeners.get(version.name, []), overview.rows_of(version.name)
    if listeners:
        is_up = version.started_at is not None and version.status in _LIVING
        since = f", for {age_text(time.time() - (version.started_at or 0))}" if is_up else ""
        title = f"   Process{'es' if len(listeners) > 1 else ''}{since}:"
        return [title, *listener_lines(version, listeners, checked, rows)]
    if not named:
        return [f"   Port: {version.port}"]
    if len(named) == 1:
        return [f"   At: {named[0]}"]
    lines = [_backend_line(address, checked.get(address), rows.get(str(address))) for address in named]
    return ["   Backends:", *lines]


def _backend_line(address: Address, result: ProbeResult | None, row: BackendRow | None) -> str:
    """Its own health check, and how the router finds it."""
    told = [] if result is None else [health_text(result)]
    told += [] if row is None else [backend_text(row._asdict())]
    sign = "" if result is None else f"{mark(result.ok and not (row is not None and row.is_out))} "
    return f"      {sign}{address}{': ' if told else ''}{'; '.join(told)}"


def release_text(version: VersionState) -> str:
    """What a version is or was last started with: its release's name and revision, as far as they are known."""
    revision = f"revision {version.revision[:12]}" if version.revision else ""
    return f"{version.release} ({revision})" if version.release and revision else version.release or revision


def _role(state: BlueGreenState, name: str) -> str:
    return "active" if name == state.active_version else "standby"


def _judgement(version: VersionState, health: ProbeResult | None) -> tuple[str, str]:
    """How a version is: the mark and the word."""
    if version.status == "crashed":
        return "💥", f"CRASHED ({ending_text(version.exit_status)})"
    # The active version is always asked; when it is stopped, no answer is no news.
    if health is None or (health.status is None and version.status not in _LIVING):
        return "⏹️ " if version.status == "stopped" else "▶️ ", version.status.upper()
    word = "HEALTHY" if health.ok else "UNHEALTHY"
    return mark(health.ok), word if version.status in _LIVING else f"{word}, and not started from here"


# --- health ----------------------------------------------------------------------------------------------


def health_json(result: ProbeResult) -> dict[str, object]:
    """One probe for programs."""
    return {
        "ok": result.ok,
        "status": result.status,
        "latency_ms": round(result.latency_ms, 2),
        "location": result.location or None,
        "body_start": result.body_start.decode("utf-8", "replace"),
        "reason": result.reason,
    }


def checked_json(checked: Checked) -> dict[str, object]:
    """The probes of a version for programs: the version's, and those of its backends where there are several."""
    found = health_json(best_of(checked.values()))
    if len(checked) > 1:
        found["backends"] = [{"address": str(address), **health_json(one)} for address, one in checked.items()]
    return found


def health_lines(name: str, checked: Checked) -> list[str]:
    """The probes of a version for people; the details only when there is something to mend."""
    return [line for address, result in checked.items() for line in _probe_lines(name, address, result)]


def _probe_lines(name: str, address: Address, result: ProbeResult) -> list[str]:
    word = "HEALTHY" if result.ok else "UNHEALTHY"
    lines = [f"{mark(result.ok)} {name} on {address.spot}: {word} ({health_text(result)})"]
    if not result.ok and result.location:
        lines.append(f"   Location: {result.location}")
    if not result.ok and result.body_start:
        lines.append(f"   Body: {repr(result.body_start)[1:]}")
    return lines


def age_text(seconds: float) -> str:
    """A span of time in its largest fitting unit: 12 s, 3 min, 5 h, 4 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _short(path: Path) -> str:
    """The path from the working directory, where it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
