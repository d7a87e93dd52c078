"""The arrays of tables of `traffic_router.toml`, `[[name]]`: each entry is read by itself, its faults have its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.settings.declaration import TableArray, entry_name
from app.settings.engine import from_table, resolve

__all__ = ["Arrays", "is_array", "read_arrays"]


class Arrays(NamedTuple):
    """What the file has of all arrays: their entries by the array's name, each setting's source, and what is wrong."""

    entries: dict[str, list[Mapping[str, Any]]]
    sources: dict[str, str]
    faults: list[str]


def is_array(value: object) -> bool:
    """Whether a value of the file was written as `[[name]]`."""
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def read_arrays(arrays: Iterable[TableArray], toml: Mapping[str, object], file: str) -> Arrays:
    """The entries that a file of that name has, with the defaults of what it does not say."""
    found = Arrays({}, {}, [])
    for array in arrays:
        found.entries[array.name] = []
        given = toml.get(array.name, [])
        if isinstance(given, Mapping):
            found.faults.append(f"[{array.name}]: write {array.header}, of which there may be several ({file})")
        elif given != [] and not is_array(given):
            found.faults.append(f"{array.name} = {given!r}: expected tables {array.header} ({file})")
        else:
            assert isinstance(given, list)
            for number, entry in enumerate(given, 1):
                _read_entry(found, array, entry, number, file)
            _check_names(found, array, file)
    return found


def _read_entry(found: Arrays, array: TableArray, entry: Mapping[str, object], number: int, file: str) -> None:
    given, unknown = from_table(array.settings, array.prepare(entry), file)
    resolved = resolve(array.settings, given, array.rules)
    name = entry_name(resolved.values, number)
    found.entries[array.name].append(resolved.values)
    found.faults.extend(f"{array.header} {name}: {fault}" for fault in (*unknown, *resolved.faults))
    for setting, source in resolved.sources.items():
        where = f"{file} {array.header}" if source == file else source
        found.sources[array.full_name(setting, name)] = where


def _check_names(found: Arrays, array: TableArray, file: str) -> None:
    names = [entry_name(values, number) for number, values in enumerate(found.entries[array.name], 1)]
    twice = {name for name in names if names.count(name) > 1}
    found.faults.extend(f"{array.header} {name}: there are several of this name ({file})" for name in sorted(twice))
