"""The blue-green state as a value, the moves between states, and its form as JSON.

A state file needs no more than `{"active_version": "green"}`; everything else has a default. Keys at the
top level that this module does not know are kept, so that an older program never drops what a newer one has
written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, TypedDict, Unpack, cast, get_args

from app.errors import StateError, UsageError

__all__ = [
    "PORTS",
    "SCHEMA",
    "VERSIONS",
    "BlueGreenState",
    "Status",
    "VersionState",
    "check_version",
    "decode",
    "encode",
    "other",
    "promote",
    "put_version",
    "roll_back",
    "with_version",
]

VERSIONS: Final = ("blue", "green")
"""The names of the two versions; a version's index in the shared metrics is its index here."""

PORTS: Final[Mapping[str, int]] = MappingProxyType({"blue": 5005, "green": 5006})
"""Where a version listens unless `versions.<name>.port` in the state file says otherwise."""

SCHEMA: Final = 1
"""Raised when a reader of the old form would misread the new one; a file without a number counts as 1."""

Status = Literal["stopped", "starting", "running", "stopping", "crashed"]


@dataclass(frozen=True, slots=True)
class VersionState:
    """What was last recorded about one version; whether its process still lives is for the reader to check.

    A pid means nothing without `pid_started` (psutil's create_time, in seconds since the epoch): the kernel
    hands pids out again. `exit_status` is the process's exit code, or minus the number of the signal that
    killed it. `dir` and `command` are set where the start command named others than the configured ones.
    """

    name: str
    port: int
    release: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    started_at: float | None = None
    status: Status = "stopped"
    exit_status: int | None = None
    dir: str | None = None
    command: str | None = None

    @property
    def index(self) -> int:
        """0 for blue, 1 for green."""
        return VERSIONS.index(self.name)


class VersionChanges(TypedDict, total=False):
    """The fields of a `VersionState` that `with_version` can change."""

    port: int
    release: str | None
    pid: int | None
    pid_started: float | None
    started_at: float | None
    status: Status
    exit_status: int | None
    dir: str | None
    command: str | None


def _default_versions() -> Mapping[str, VersionState]:
    return MappingProxyType({name: VersionState(name, PORTS[name]) for name in VERSIONS})


@dataclass(frozen=True, slots=True)
class BlueGreenState:
    """One state of the deployment. Every change makes a new one whose `serial` is one higher.

    `active` is the active version itself, worked out once because every request asks for it. `switched_at`
    is wall time in seconds, for display. `extra` holds the top-level keys of the file that this program
    does not know.
    """

    active_version: str | None = None
    previous_version: str | None = None
    versions: Mapping[str, VersionState] = field(default_factory=_default_versions)
    serial: int = 0
    switched_at: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    active: VersionState | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        active = None if self.active_version is None else self.version(self.active_version)
        object.__setattr__(
            self, "active", active
        )  # frozen for everybody else; this is still the construction

    def version(self, name: str) -> VersionState:
        """The version of that name; raises `UsageError` when there is none."""
        return self.versions[check_version(name)]

    @property
    def standby_version(self) -> str:
        """The version that a deploy would replace: the one that is not active, green when none is."""
        return other(self.active_version) if self.active_version else VERSIONS[1]


def check_version(name: str) -> str:
    """Give the name back when it names a version; raises `UsageError` otherwise."""
    if name not in VERSIONS:
        raise UsageError(f"there is no version {name!r}; the versions are {' and '.join(VERSIONS)}")
    return name


def other(name: str) -> str:
    """The name of the other version."""
    return VERSIONS[1 - VERSIONS.index(check_version(name))]


# --- moves -----------------------------------------------------------------------------------------------


def promote(state: BlueGreenState, version: str, now: float) -> BlueGreenState:
    """Make a version the active one; the one that was becomes `previous_version`. `now` is wall time."""
    check_version(version)
    previous = state.previous_version if version == state.active_version else state.active_version
    return replace(
        state, active_version=version, previous_version=previous, switched_at=now, serial=state.serial + 1
    )


def roll_back(state: BlueGreenState, now: float) -> BlueGreenState:
    """Make the previous version the active one again; raises `StateError` when none is recorded."""
    if state.previous_version is None:
        raise StateError(
            "no version was active before this one", "python3 bin/blue_green_deploy switch VERSION"
        )
    return promote(state, state.previous_version, now)


def with_version(state: BlueGreenState, name: str, **changes: Unpack[VersionChanges]) -> BlueGreenState:
    """Change fields of one version."""
    return put_version(state, replace(state.version(name), **changes))


def put_version(state: BlueGreenState, version: VersionState) -> BlueGreenState:
    """Put a version in the place of the one of that name."""
    versions = MappingProxyType({**state.versions, check_version(version.name): version})
    return replace(state, versions=versions, serial=state.serial + 1)


# --- JSON ------------------------------------------------------------------------------------------------


def encode(state: BlueGreenState) -> bytes:
    """The state file's bytes: indented JSON, for the people who will look into it."""
    versions = {
        name: {key: getattr(version, key) for key in _VERSION_FIELDS}
        for name, version in state.versions.items()
    }
    known = {"schema": SCHEMA, **{key: getattr(state, key) for key in _TOP_FIELDS}, "versions": versions}
    extra = {key: value for key, value in state.extra.items() if key not in known}
    return json.dumps({**known, **extra}, indent=2, allow_nan=False).encode("ascii") + b"\n"


def decode(raw: bytes) -> BlueGreenState:
    """Read a state file's bytes; raises `StateError` that says what is wrong with them."""
    document = _object(_parse(raw), "the file")
    schema = document.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise StateError(f"schema is {schema!r}, and this program reads {SCHEMA}")
    if "active_version" not in document:
        raise StateError('the file has no "active_version"')
    given = _object(document.get("versions", {}), "versions")
    for name in given:
        if name not in VERSIONS:
            raise StateError(f"versions.{name}: the versions are {' and '.join(VERSIONS)}")
    versions = MappingProxyType({name: _version(name, given.get(name, {})) for name in VERSIONS})
    ports = [version.port for version in versions.values()]
    if len(set(ports)) < len(ports):
        raise StateError(f"the versions share port {ports[0]}")
    return BlueGreenState(
        active_version=cast(str | None, _read(document, "active_version", _TOP_FIELDS)),
        previous_version=cast(str | None, _read(document, "previous_version", _TOP_FIELDS)),
        serial=cast(int, _read(document, "serial", _TOP_FIELDS)),
        switched_at=cast(float | None, _read(document, "switched_at", _TOP_FIELDS)),
        versions=versions,
        extra={key: value for key, value in document.items() if key not in _KNOWN_KEYS},
    )


def _parse(raw: bytes) -> object:
    if not raw.strip():
        raise StateError("the file is empty")
    try:
        return cast(object, json.loads(raw, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:  # torn, not text, not JSON, or nested without end
        raise StateError(f"not JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number that JSON knows")


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise StateError(f"{where} is not a JSON object")
    return value


def _version(name: str, value: object) -> VersionState:
    given = _object(value, f"versions.{name}")
    values = {
        key: _read(given, key, _VERSION_FIELDS, f"versions.{name}.")
        for key in _VERSION_FIELDS
        if key in given
    }
    fields = cast(VersionChanges, values)  # _read checked each against the field's own rule
    return replace(VersionState(name, PORTS[name]), **fields)


@dataclass(frozen=True, slots=True)
class _Field:
    """How one key of the file is checked, in words for the message, and what it is when absent."""

    allowed: str
    fits: Callable[[object], bool]
    default: object = None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _or_null(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_port(value: object) -> bool:
    return isinstance(value, int) and _is_positive(value) and value <= 65535


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_STATUSES = get_args(Status)
_NAME = _Field("one of the versions or null", _or_null(lambda value: value in VERSIONS))
_TIME = _Field("a time in seconds or null", _or_null(_is_time))
_TEXT = _Field("a text or null", _or_null(_is_text))

_TOP_FIELDS: Mapping[str, _Field] = {
    "serial": _Field("a whole number from 0 up", lambda value: value == 0 or _is_positive(value), default=0),
    "active_version": _NAME,
    "previous_version": _NAME,
    "switched_at": _TIME,
}
_VERSION_FIELDS: Mapping[str, _Field] = {
    "port": _Field("a port from 1 to 65535", _is_port),
    "status": _Field(f"one of {', '.join(_STATUSES)}", lambda value: value in _STATUSES),
    "release": _TEXT,
    "pid": _Field("a process id or null", _or_null(_is_positive)),
    "pid_started": _TIME,
    "started_at": _TIME,
    "exit_status": _Field("a whole number or null", _or_null(_is_whole)),
    "dir": _TEXT,
    "command": _TEXT,
}
_KNOWN_KEYS = frozenset((*_TOP_FIELDS, "schema", "versions"))


def _read(table: Mapping[str, object], key: str, fields: Mapping[str, _Field], where: str = "") -> object:
    about = fields[key]
    value = table.get(key, about.default)
    if not about.fits(value):
        raise StateError(f"{where}{key} is {value!r}; expected {about.allowed}")
    return value
