"""The state file's JSON: from bytes to a state and back.

A state file needs no more than `{"active_version": "green"}`; everything else has a default. Keys at the
top level that this module does not know are kept, so that an older program never drops what a newer one has
written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Final, NamedTuple, cast, get_args

from app.address import Address, backends_of, is_name
from app.operator_errors import StateError
from app.settings.checks import STOP_SIGNALS, is_network
from app.state.model import PORTS, VERSIONS, BlueGreenState, Maintenance, Pause, Status, VersionChanges, VersionState
from app.state.split import MOST_SALT_BYTES, ORDERS, WHOLE, Split, is_sticky

__all__ = ["SCHEMA", "decode", "encode"]

SCHEMA: Final = 1
"""Raised when a reader of the old form would misread the new one; a file without a number counts as 1."""

SPLIT_SCHEMA: Final = 2
"""That of a file with a split, which a reader who does not know it would send nowhere but to the active version."""


def encode(state: BlueGreenState) -> bytes:
    """The state file's bytes: indented JSON, for the people who will look into it."""
    versions = {
        name: {
            key: value for key in _VERSION_FIELDS if (value := getattr(version, key)) or key not in _LEFT_OUT_WHEN_EMPTY
        }
        for name, version in state.versions.items()
    }
    modes = {key: None if getattr(state, key) is None else getattr(state, key)._asdict() for key in _MODES}
    fields = {key: getattr(state, key) for key in _TOP_FIELDS} | modes
    if state.split is not None:
        fields["split"] = asdict(state.split)
    if state.split_cookies_until is None:
        del fields["split_cookies_until"]
    known = {"schema": SPLIT_SCHEMA if state.split is not None else SCHEMA, **fields, "versions": versions}
    extra = {key: value for key, value in state.extra.items() if key not in known}
    return json.dumps({**known, **extra}, indent=2, allow_nan=False).encode("ascii") + b"\n"


def decode(raw: bytes, default_ports: Mapping[str, int] = PORTS) -> BlueGreenState:
    """Read a state file's bytes; raises `StateError` that says what is wrong with them.

    A version that has no port in the file gets that of `default_ports`.
    """
    document = _object(_parse(raw), "the file")
    schema = document.get("schema", SCHEMA)
    if schema not in (SCHEMA, SPLIT_SCHEMA):
        raise StateError(f"schema is {schema!r}, and this program reads {SCHEMA} and {SPLIT_SCHEMA}")
    if "active_version" not in document:
        raise StateError('the file has no "active_version"')
    given = _object(document.get("versions", {}), "versions")
    for name in given:
        if name not in VERSIONS:
            raise StateError(f"versions.{name}: the versions are {' and '.join(VERSIONS)}")
    versions = MappingProxyType({name: _version(name, given.get(name, {}), default_ports[name]) for name in VERSIONS})
    ports = [version.port for version in versions.values()]
    if len(set(ports)) < len(ports):
        raise StateError(f"the versions share port {ports[0]}")
    if shared := set.intersection(*(set(version.instances) for version in versions.values())):
        raise StateError(f"the versions share {min(shared)}")
    return BlueGreenState(
        active_version=cast(str | None, _read(document, "active_version", _TOP_FIELDS)),
        previous_version=cast(str | None, _read(document, "previous_version", _TOP_FIELDS)),
        serial=cast(int, _read(document, "serial", _TOP_FIELDS)),
        changed_by=cast(str, _read(document, "changed_by", _TOP_FIELDS)),
        switched_at=cast(float | None, _read(document, "switched_at", _TOP_FIELDS)),
        switches=cast(int, _read(document, "switches", _TOP_FIELDS)),
        preview_key=cast(str, _read(document, "preview_key", _TOP_FIELDS)),
        pause=_pause(document.get("pause")),
        maintenance=_maintenance(document.get("maintenance")),
        split=_split(document.get("split"), document["active_version"]),
        split_cookies_until=cast(float | None, _read(document, "split_cookies_until", _TOP_FIELDS)),
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


def _version(name: str, value: object, default_port: int) -> VersionState:
    given = _object(value, f"versions.{name}")
    values = {key: _read(given, key, _VERSION_FIELDS, f"versions.{name}.") for key in _VERSION_FIELDS if key in given}
    values |= {key: tuple(cast(list[str], values[key])) for key in _LISTS if key in values}
    fields = cast(VersionChanges, values)  # _read checked each against the field's own rule
    return replace(VersionState(name, default_port), **fields)


def _pause(value: object) -> Pause | None:
    if value is None:
        return None
    given = _object(value, "pause")
    since, until = (cast(float, _read(given, key, _PAUSE_FIELDS, "pause.")) for key in _PAUSE_FIELDS)
    return Pause(since, until)


def _maintenance(value: object) -> Maintenance | None:
    if value is None:
        return None
    given = _object(value, "maintenance")
    found = {key: _read(given, key, _MAINTENANCE_FIELDS, "maintenance.") for key in _MAINTENANCE_FIELDS}
    return Maintenance(
        since=cast(float, found["since"]),
        message=cast(str, found["message"]),
        retry_after_s=cast(int, found["retry_after_s"]),
        allow=tuple(cast(list[str], found["allow"])),
        until=cast(float | None, found["until"]),
    )


def _split(value: object, active: object) -> Split | None:
    if value is None:
        return None
    given = _object(value, "split")
    for key in given:
        if key not in _SPLIT_FIELDS:
            raise StateError(f"split.{key}: the keys are {', '.join(_SPLIT_FIELDS)}")
    found = {key: _read(given, key, _SPLIT_FIELDS, "split.") for key in _SPLIT_FIELDS}
    if found["canary"] == active:
        raise StateError(f"split.canary is {active!r}, which is the active version; expected the other one")
    slow_ms = cast(list[float] | None, found["slow_ms"])
    return Split(
        canary=cast(str, found["canary"]),
        weight=cast(int, found["weight"]),
        until=cast(float, found["until"]),
        salt=cast(str, found["salt"]),
        sticky=cast(str, found["sticky"]),
        slow_ms=None if slow_ms is None else (slow_ms[0], slow_ms[1]),
        order=cast(str, found["order"]),
    )


class _Field(NamedTuple):
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


def _is_count(value: object) -> bool:
    return value == 0 or _is_positive(value)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and _is_positive(value) and value <= 65535


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_networks(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) and is_network(item) for item in value)


def _is_backends(value: object) -> bool:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        return False
    try:
        backends_of(value)
    except ValueError:
        return False
    return True


def _is_addresses(value: object) -> bool:
    return _is_backends(value) and not any(" " in text for text in cast(list[str], value))  # none has a weight


def _is_instances(value: object) -> bool:
    return _is_addresses(value) and not any(is_name(Address.parse(text).host) for text in cast(list[str], value))


def _is_weight(value: object) -> bool:
    return isinstance(value, int) and _is_count(value) and value <= WHOLE


def _is_salt(value: object) -> bool:
    return isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) <= MOST_SALT_BYTES


def _is_slow_ms(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_is_time(one) and one > 0 for one in value)


_STATUSES = get_args(Status)
_NAME = _Field("one of the versions or null", _or_null(lambda value: value in VERSIONS))
_TIME = _Field("a time in seconds or null", _or_null(_is_time))
_TEXT = _Field("a text or null", _or_null(_is_text))

_TOP_FIELDS: Mapping[str, _Field] = {
    "serial": _Field("a whole number from 0 up", _is_count, default=0),
    "changed_by": _Field("a text", _is_text, default=""),
    "active_version": _NAME,
    "previous_version": _NAME,
    "switched_at": _TIME,
    "switches": _Field("a whole number from 0 up", _is_count, default=0),
    "preview_key": _Field("a text", _is_text, default=""),
    "split_cookies_until": _TIME,
}
_PAUSE_FIELDS: Mapping[str, _Field] = {
    "since": _Field("a time in seconds", _is_time),
    "until": _Field("a time in seconds", _is_time),
}
_MAINTENANCE_FIELDS: Mapping[str, _Field] = {
    "since": _Field("a time in seconds", _is_time),
    "message": _Field("a text", _is_text, default=""),
    "retry_after_s": _Field("a whole number of seconds from 0 up", _is_count, default=120),
    "allow": _Field("a list of IP addresses and networks", _is_networks, default=()),
    "until": _TIME,
}
_SPLIT_FIELDS: Mapping[str, _Field] = {
    "canary": _Field("the version that is not active", lambda value: value in VERSIONS),
    "weight": _Field(f"a whole number of hundredths of a per cent, from 0 to {WHOLE}", _is_weight),
    "until": _Field("a time in seconds", _is_time),
    "salt": _Field(f"a text of at most {MOST_SALT_BYTES} bytes", _is_salt, default=""),
    "sticky": _Field(
        "off, cookie, client or header:NAME", lambda value: isinstance(value, str) and is_sticky(value), default="off"
    ),
    "slow_ms": _Field("two times above 0 in milliseconds, or null", _or_null(_is_slow_ms)),
    "order": _Field("hold, promote or nothing", lambda value: value in ORDERS, default=""),
}
_MODES = ("pause", "maintenance")
_VERSION_FIELDS: Mapping[str, _Field] = {
    "port": _Field("a port from 1 to 65535", _is_port),
    "status": _Field(f"one of {', '.join(_STATUSES)}", lambda value: value in _STATUSES),
    "release": _TEXT,
    "pid": _Field("a process id or null", _or_null(_is_positive)),
    "pid_birth": _TEXT,
    "started_at": _TIME,
    "exit_status": _Field("a whole number or null", _or_null(_is_whole)),
    "dir": _TEXT,
    "command": _TEXT,
    "stop_signal": _Field(f"one of {', '.join(STOP_SIGNALS)}, or null", _or_null(lambda value: value in STOP_SIGNALS)),
    "record": _TEXT,
    "directory": _TEXT,
    "revision": _TEXT,
    "rolled_back_at": _TIME,
    "backends": _Field("a list of addresses", _is_backends, default=()),
    "instances": _Field("a list of addresses of this machine", _is_instances, default=()),
    "drained": _Field("a list of addresses", _is_addresses, default=()),
}
_LISTS = ("backends", "instances", "drained")
_LEFT_OUT_WHEN_EMPTY = ("instances", "drained")
_KNOWN_KEYS = frozenset((*_TOP_FIELDS, *_MODES, "schema", "split", "versions"))


def _read(table: Mapping[str, object], key: str, fields: Mapping[str, _Field], where: str = "") -> object:
    about = fields[key]
    value = table.get(key, about.default)
    if not about.fits(value):
        raise StateError(f"{where}{key} is {value!r}; expected {about.allowed}")
    return value
