"""The blue-green state as a value, and the moves between states; `app.state.codec` is its form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypedDict, Unpack

from app.command_line import PROGRAM
from app.operator_errors import UsageError
from app.state.split import COOKIES_LAST_S, Split

__all__ = [
    "PORTS",
    "STARTED_WITH",
    "VERSIONS",
    "BlueGreenState",
    "Maintenance",
    "Pause",
    "Status",
    "VersionState",
    "check_version",
    "other",
    "promote",
    "put_version",
    "started_with",
    "versions_on",
    "with_maintenance",
    "with_pause",
    "with_preview_key",
    "with_split",
    "with_version",
    "without_maintenance",
    "without_pause",
    "without_split",
]

VERSIONS: Final = ("blue", "green")
"""The names of the two versions; a version's index in the shared metrics is its index here."""

PORTS: Final[Mapping[str, int]] = MappingProxyType({"blue": 5005, "green": 5006})
"""Where a version listens unless `versions.<name>.port` in the state file, or the settings, say otherwise."""

STARTED_WITH: Final = ("release", "dir", "command", "record", "directory", "revision")
"""The fields of a version that say what it was started with; the others say what became of it."""

Status = Literal["stopped", "starting", "running", "stopping", "crashed"]


@dataclass(frozen=True)
class VersionState:
    """What was last recorded about one version; whether its process still lives is for the reader to check.

    A pid means nothing without `pid_birth` (`app.state.process_birth`): the kernel hands pids out again.
    `exit_status` is the process's exit code, or minus the number of the signal that killed it. `dir` and
    `command` are set where the start command named others than the configured ones. `stop_signal` is what the process
    that was started last is told to end by, such as "TERM": the setting may have become another server's since.
    `record` is the id of the record (`app.state.releases`) of all that it was started with; `directory`, where that
    was, with links followed, and `revision`, the code's there, are repeated here for those who may not read it.
    `rolled_back_at` is when traffic was taken from this release because it was found wanting (wall time).
    `backends` are the addresses of a version that others run, `instances` those of our own processes where it does not
    simply listen on its port (`app.address`); those in `drained`, of either, get no new requests.
    """

    name: str
    port: int
    release: str | None = None
    pid: int | None = None
    pid_birth: str | None = None
    started_at: float | None = None
    status: Status = "stopped"
    exit_status: int | None = None
    dir: str | None = None
    command: str | None = None
    stop_signal: str | None = None
    record: str | None = None
    directory: str | None = None
    revision: str | None = None
    rolled_back_at: float | None = None
    backends: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()

    @property
    def started_with(self) -> dict[str, str | None]:
        """What it was started with, by field; what a history keeps, and a start that fails puts back."""
        return {name: getattr(self, name) for name in STARTED_WITH}

    def lived_s(self, at: float) -> float | None:
        """For how long its process has lived at wall time `at`; None where nobody knows when it was started."""
        return at - self.started_at if self.started_at else None

    @property
    def is_up(self) -> bool:
        """Whether it was last known to run; of one that no command has started, nothing else is known."""
        was_ours = self.pid is not None or self.started_at is not None
        return self.status == "running" or (self.status == "stopped" and not was_ours)

    @property
    def index(self) -> int:
        """0 for blue, 1 for green."""
        return VERSIONS.index(self.name)


class VersionChanges(TypedDict, total=False):
    """The fields of a `VersionState` that `with_version` can change."""

    port: int
    release: str | None
    pid: int | None
    pid_birth: str | None
    started_at: float | None
    status: Status
    exit_status: int | None
    dir: str | None
    command: str | None
    stop_signal: str | None
    record: str | None
    directory: str | None
    revision: str | None
    rolled_back_at: float | None
    backends: tuple[str, ...]
    instances: tuple[str, ...]
    drained: tuple[str, ...]


class Pause(NamedTuple):
    """New requests wait from `since` to `until`, wall time in seconds, or until somebody resumes.

    The end stands in the state from the beginning: should nobody come back to resume, the traffic does.
    """

    since: float
    until: float

    def holds(self, now: float) -> bool:
        """Whether requests are to wait at `now`, wall time.

        A clock that was set back to before the pause began must not make it longer, so that ends it too.
        """
        return _is_between(self.since, now, self.until)


class Maintenance(NamedTuple):
    """Clients are answered 503 from `since` to `until` (wall time), but for those from the networks in `allow`.

    Without `until` it ends when somebody ends it. `message` is shown to people; empty means the usual text.
    `retry_after_s` is the Retry-After field's value where no end is known. `allow` holds IP addresses and networks
    such as "10.0.0.0/8".
    """

    since: float
    message: str = ""
    retry_after_s: int = 120
    allow: tuple[str, ...] = ()
    until: float | None = None

    def holds(self, now: float) -> bool:
        """Whether clients are answered 503 at `now`, wall time; the clock as in a pause."""
        return self.until is None or _is_between(self.since, now, self.until)

    def comes_back_in_s(self, now: float) -> int:
        """The Retry-After field's value at `now`: the time that is left, where that is known."""
        return self.retry_after_s if self.until is None else max(1, ceil(self.until - now))


def _is_between(since: float, now: float, until: float) -> bool:
    return since - _CLOCK_SLACK_S <= now < until


_CLOCK_SLACK_S = 2.0
"""Time services move a clock back by no more than this while it runs."""


def versions_on(ports: Mapping[str, int]) -> Mapping[str, VersionState]:
    """Both versions as they are before the first start, listening on these ports by name."""
    return MappingProxyType({name: VersionState(name, ports[name]) for name in VERSIONS})


def _default_versions() -> Mapping[str, VersionState]:
    return versions_on(PORTS)


@dataclass(frozen=True)
class BlueGreenState:
    """One state of the deployment. Every change makes a new one whose `serial` is one higher.

    `active` is the active version itself, worked out once because every request asks for it. `switched_at`
    is wall time in seconds, for display, and `switches` counts how often another version became active. `pause`
    and `maintenance` are None while there is none. `split` has the standby's share of the requests, None while
    all go to the active version; `split_cookies_until` is until when a browser may have a cookie of one that has
    ended. `preview_key` is the secret that preview links are signed with, "" until the first one is made.
    `changed_by` is the id in the history of the command that made the last change, "" for one made by hand. `extra`
    holds the top-level keys of the file that this program does not know.
    """

    active_version: str | None = None
    previous_version: str | None = None
    versions: Mapping[str, VersionState] = field(default_factory=_default_versions)
    serial: int = 0
    changed_by: str = field(default="", compare=False)  # says nothing about the deployment itself
    switched_at: float | None = None
    switches: int = 0
    pause: Pause | None = None
    maintenance: Maintenance | None = None
    split: Split | None = None
    split_cookies_until: float | None = None
    preview_key: str = field(default="", repr=False)
    extra: Mapping[str, object] = field(default_factory=dict)
    active: VersionState | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        active = None if self.active_version is None else self.version(self.active_version)
        object.__setattr__(self, "active", active)  # frozen for everybody else; this is still the construction

    def version(self, name: str) -> VersionState:
        """The version of that name; raises `UsageError` when there is none."""
        return self.versions[check_version(name)]

    def shared_at(self, now: float) -> int:
        """The hundredths of a per cent of the requests that the standby has at `now`, wall time."""
        return self.split.weight_at(now) if self.split is not None else 0

    def pause_at(self, now: float) -> Pause | None:
        """The pause that is on at `now`, wall time."""
        return self.pause if self.pause is not None and self.pause.holds(now) else None

    def maintenance_at(self, now: float) -> Maintenance | None:
        """The maintenance that is on at `now`, wall time."""
        return self.maintenance if self.maintenance is not None and self.maintenance.holds(now) else None

    @property
    def standby_version(self) -> str:
        """The version that a deploy would replace: the one that is not active, green when none is."""
        return other(self.active_version) if self.active_version else VERSIONS[1]

    @property
    def free_version(self) -> str:
        """The version that a new release goes to: the standby, blue when none is active."""
        return self.standby_version if self.active_version else VERSIONS[0]


def check_version(name: str) -> str:
    """Give the name back when it names a version; raises `UsageError` otherwise."""
    if name not in VERSIONS:
        raise UsageError(
            f"there is no version {name!r}; the versions are {' and '.join(VERSIONS)}", f"{PROGRAM} --help"
        )
    return name


def other(name: str) -> str:
    """The name of the other version."""
    return VERSIONS[1 - VERSIONS.index(check_version(name))]


# --- moves -----------------------------------------------------------------------------------------------


def promote(state: BlueGreenState, version: str, now: float, *, gives_up: bool = False) -> BlueGreenState:
    """Make a version the active one; the one that was becomes `previous_version`. `now` is wall time.

    All requests go to it: a split ends.

    `gives_up`: the one that was is found wanting, unless this is the way forward again to what was given up before.
    """
    state = _split_ended(state, now)
    target = state.version(version)
    left = state.active if version != state.active_version else None
    previous = left.name if left is not None else state.previous_version
    versions = {**state.versions, version: replace(target, rolled_back_at=None)}
    if gives_up and left is not None and target.rolled_back_at is None:
        versions[left.name] = replace(left, rolled_back_at=now)
    state = replace(state, versions=MappingProxyType(versions))
    return replace(
        state,
        active_version=version,
        previous_version=previous,
        switched_at=now,
        switches=state.switches + (version != state.active_version),
        serial=state.serial + 1,
    )


def with_version(state: BlueGreenState, name: str, **changes: Unpack[VersionChanges]) -> BlueGreenState:
    """Change fields of one version."""
    return put_version(state, replace(state.version(name), **changes))


def started_with(version: VersionState, given: Mapping[str, str | None]) -> VersionState:
    """The version as one that was started with what is given by field; what is not given is not known."""
    known: VersionChanges = {name: given.get(name) for name in STARTED_WITH}  # type: ignore[assignment]  # all are texts
    return replace(version, **known)


def put_version(state: BlueGreenState, version: VersionState) -> BlueGreenState:
    """Put a version in the place of the one of that name."""
    versions = MappingProxyType({**state.versions, check_version(version.name): version})
    return replace(state, versions=versions, serial=state.serial + 1)


def with_pause(state: BlueGreenState, now: float, max_hold_s: float) -> BlueGreenState:
    """Hold new requests for at most `max_hold_s` seconds; one that is on already is given the new end."""
    on = state.pause_at(now)
    since = now if on is None else on.since
    return replace(state, pause=Pause(since, now + max_hold_s), serial=state.serial + 1)


def without_pause(state: BlueGreenState) -> BlueGreenState:
    """Let requests through again."""
    return replace(state, pause=None, serial=state.serial + 1)


def with_maintenance(state: BlueGreenState, maintenance: Maintenance) -> BlueGreenState:
    """Answer clients with the maintenance page."""
    return replace(state, maintenance=maintenance, serial=state.serial + 1)


def without_maintenance(state: BlueGreenState) -> BlueGreenState:
    """Answer clients as usual again."""
    return replace(state, maintenance=None, serial=state.serial + 1)


def with_preview_key(state: BlueGreenState, key: str) -> BlueGreenState:
    """Sign previews with this secret; links that were signed with another one are void from now on."""
    return replace(state, preview_key=key, serial=state.serial + 1)


def with_split(state: BlueGreenState, split: Split) -> BlueGreenState:
    """Share the requests out."""
    return replace(state, split=split, serial=state.serial + 1)


def without_split(state: BlueGreenState, now: float) -> BlueGreenState:
    """Give all requests to the active version. `now` is wall time."""
    return replace(_split_ended(state, now), serial=state.serial + 1)


def _split_ended(state: BlueGreenState, now: float) -> BlueGreenState:
    """Without its split; where clients had cookies of it, with the time until which they may send them."""
    split, until = state.split, state.split_cookies_until
    if split is not None and split.sticky == "cookie":
        until = now + COOKIES_LAST_S
    elif until is not None and until < now:
        until = None
    return replace(state, split=None, split_cookies_until=until)
