"""What one setting is: how its value is read from a text or a table, checked, and put into words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Setting", "read", "shown"]

_NUMBER = re.compile(r"(-?\d[\d_]*(?:\.\d+)?)\s*([a-z]*|%)", re.IGNORECASE)

_SUFFIXES: Mapping[str, Mapping[str, float]] = {
    "percent": {"": 1, "%": 1},
    "seconds": {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600},
    "bytes": {
        "": 1,
        "k": 1 << 10,
        "kib": 1 << 10,
        "m": 1 << 20,
        "mib": 1 << 20,
        "g": 1 << 30,
        "gib": 1 << 30,
    },
}
"""Suffixes that a number may carry, by the setting's unit; sizes count in powers of 1024."""

_MASK = "********"

_BOOLS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class Setting(NamedTuple):
    """All that is known about one field: enough to read, check, print and document it.

    `low` and `high` are inclusive, and given together. `check` sees one text (each item of a list, each name
    of a table) and says whether it will do; `rule` puts in words what it asks for. `zero` says what the value
    0, or an empty text, stands for.
    """

    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    zero: str = ""
    rule: str = ""
    check: Callable[[str], bool] | None = None
    secret: bool = False
    name: str = ""
    default: object = None

    @property
    def kind(self) -> type:
        """The Python type of the value."""
        return type(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words, as in "a whole number from 1 to 65535"."""
        return self.rule or _KINDS[self.kind].noun + self._range()

    def _range(self) -> str:
        unit = f" of {self.unit}" if self.unit else ""
        if self.low is None or self.high is None:
            return unit
        return f"{unit} from {_plain(self.low)} to {_plain(self.high)}"


def read(about: Setting, raw: object) -> object:
    """The value in the setting's own type, from a text or from a value as TOML gives it.

    Raises `ValueError` when it is none, or is out of range; `about.allowed` says what was expected.
    """
    return _KINDS[about.kind].read(about, raw)


def shown(about: Setting, value: object) -> str:
    """A value as it may be printed: secrets are masked, lists are joined, numbers lose a needless `.0`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_MASK if about.secret else text}" for name, text in value.items()) or "{}"
    if about.secret and value:
        return _MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or '""'
    return '""' if value == "" else str(value)


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _read_number(about: Setting, raw: object) -> float:
    if isinstance(raw, str):
        match = _NUMBER.fullmatch(raw.strip())
        suffixes = _SUFFIXES.get(about.unit, {"": 1})
        if match is None or match[2].lower() not in suffixes:
            raise ValueError
        raw = float(match[1]) * suffixes[match[2].lower()]
    # bool is an int to Python, but `main_port = true` is a mistake.
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise ValueError
    if (about.low is not None and raw < about.low) or (about.high is not None and raw > about.high):
        raise ValueError
    return float(raw)


def _read_whole(about: Setting, raw: object) -> int:
    number = _read_number(about, raw)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _read_bool(about: Setting, raw: object) -> bool:
    value = _BOOLS.get(raw.strip().lower()) if isinstance(raw, str) else raw
    if not isinstance(value, bool):
        raise ValueError
    return value


def _read_text(about: Setting, raw: object) -> str:
    if not isinstance(raw, str) or (about.check is not None and not about.check(raw)):
        raise ValueError
    return raw


def _read_list(about: Setting, raw: object) -> tuple[str, ...]:
    items = raw.replace(",", " ").split() if isinstance(raw, str) else raw
    if not isinstance(items, Sequence):
        raise ValueError
    return tuple(_read_text(about, item) for item in items)


def _read_table(about: Setting, raw: object) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        raise ValueError
    # A bare number is how people write a variable's value in TOML; true and lists are ambiguous and refused.
    return {
        _read_text(about, name): str(value) if type(value) is int else _read_text(about._replace(check=None), value)
        for name, value in raw.items()
    }


class _Kind(NamedTuple):
    noun: str
    read: Callable[[Setting, object], object]


_KINDS: Mapping[type, _Kind] = {
    int: _Kind("a whole number", _read_whole),
    float: _Kind("a number", _read_number),
    bool: _Kind("true or false", _read_bool),
    str: _Kind("a text", _read_text),
    tuple: _Kind("a list of texts", _read_list),
    dict: _Kind("a table of texts", _read_table),
}
