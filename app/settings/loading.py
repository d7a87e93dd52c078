"""All settings of a process, put together from their layers.

Precedence: command line over environment (`TRAFFIC_ROUTER_<FIELD>`, and `PORT`) over `traffic_router.toml` over
defaults. The first two are for the router's own settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from app.settings.arrays import is_array, read_arrays
from app.settings.declaration import AllTables, Table, entry_name
from app.settings.engine import (
    Given,
    Setting,
    build,
    describe,
    from_environment,
    from_table,
    raise_faults,
    resolve,
    shown,
    unknown_name,
    values_of,
)
from app.settings.tables import ARRAYS, TABLES
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.backends_settings import BackendsConfig
from app.settings.tables.deploy_settings import DeployConfig
from app.settings.tables.fleet_settings import FleetConfig
from app.settings.tables.release_settings import ReleaseConfig
from app.settings.tables.router_settings import RouterConfig

__all__ = ["ENV_PREFIX", "HOME_VARIABLE", "PURE_VARIABLE", "TOML_NAME", "Loaded", "load"]

ENV_PREFIX = "TRAFFIC_ROUTER_"
HOME_VARIABLE = "TRAFFIC_ROUTER_HOME"
PURE_VARIABLE = "TRAFFIC_ROUTER_PURE"
TOML_NAME = "traffic_router.toml"

_ALIASES = {"PORT": "main_port"}
"""What hosting platforms set; the prefixed name is the more deliberate one and wins."""

T = TypeVar("T")


class Loaded(NamedTuple):
    """The settings in effect by class, and the source of each: `sources["read_timeout"]`, `sources["app.dir"]`."""

    settings: Mapping[type, Any]  # each an instance of its class, or a tuple of them, which its type cannot say
    sources: Mapping[str, str]

    @classmethod
    def just(cls, *settings: object) -> Loaded:
        """Settings made by a program; what is not given has its defaults."""
        found: dict[type, Any] = {type(one): one for one in settings}
        for kind in (array.settings for array in ARRAYS if array.settings in found):
            found[kind] = tuple(one for one in settings if type(one) is kind)
        return cls(found, {})

    def of(self, kind: type[T]) -> T:
        """The settings of one table, by their class."""
        found: T | None = self.settings.get(kind)
        return kind() if found is None else found

    def every(self, kind: type[T]) -> tuple[T, ...]:
        """The entries of an array of tables, by their class, in the order of the file."""
        found: tuple[T, ...] = self.settings.get(kind, ())
        return found

    @property
    def config(self) -> RouterConfig:
        """The router's own."""
        return self.of(RouterConfig)

    @property
    def app(self) -> AppConfig:
        """Those of `[app]`."""
        return self.of(AppConfig)

    @property
    def backends(self) -> BackendsConfig:
        """Those of `[backends]`."""
        return self.of(BackendsConfig)

    @property
    def deploy(self) -> DeployConfig:
        """Those of `[deploy]`."""
        return self.of(DeployConfig)

    @property
    def fleet(self) -> FleetConfig:
        """Those of `[fleet]`."""
        return self.of(FleetConfig)

    @property
    def release(self) -> ReleaseConfig:
        """Those of `[release]`."""
        return self.of(ReleaseConfig)

    def rows(self) -> Iterator[tuple[str, Setting, Any, str]]:
        """Every setting of every table: its full name, what it is, its value, and where that came from."""
        for table in TABLES:
            values = values_of(self.of(table.settings))
            for name, about in describe(table.settings).items():
                full = table.full_name(name)
                yield full, about, values[name], self.sources.get(full, "")
        for array in ARRAYS:
            for number, entry in enumerate(self.every(array.settings), 1):
                values = values_of(entry)
                for name, about in describe(array.settings).items():
                    full = array.full_name(name, entry_name(values, number))
                    yield full, about, values[name], self.sources.get(full, "")

    def changes_since(self, before: Loaded) -> list[str]:
        """What is another than it was, "hold_timeout = 5 → 10"; of a secret its name alone.

        `before` may be of another release: what that does not know had the default.
        """
        found, were, are = [], {name: value for name, _, value, _ in before.rows()}, set()
        for name, about, value, _ in self.rows():
            are.add(name)
            old = were.get(name, about.default)
            if old != value:
                found.append(name if about.secret else f"{name} = {shown(about, old)} → {shown(about, value)}")
        entries = {name.rpartition(".")[0] for name in were if name.count(".") > 1}
        still = {name.rpartition(".")[0] for name in are}
        return found + [f"{entry} is gone" for entry in sorted(entries - still)]

    def with_router(self, **changes: Any) -> Loaded:  # by field, each of its type
        """The same, with other settings of the router's own."""
        return self._replace(settings={**self.settings, RouterConfig: replace(self.config, **changes)})


def load(cli: Mapping[str, str], environ: Mapping[str, str], toml: Mapping[str, object]) -> Loaded:
    """Put the layers together, strongest first.

    `cli`, and `toml` at its top level or in `[router]`, are keyed by the router's fields, `toml`'s tables by those of
    theirs. Raises `ConfigError` with every fault.
    """
    top, parts, faults = _split(toml)
    all_values: dict[str, dict[str, Any]] = {}
    all_sources: dict[str, Mapping[str, str]] = {}
    resolved_faults: list[str] = []
    for table in TABLES:
        given: list[Given] = []
        for values, unknown in _layers(table, cli, environ, top, parts):
            given += values
            faults += unknown
        resolved = resolve(table.settings, given, table.rules)
        all_values[table.name], all_sources[table.name] = dict(resolved.values), resolved.sources
        resolved_faults += resolved.faults
    arrays = read_arrays(ARRAYS, toml, TOML_NAME)
    faults += [*resolved_faults, *arrays.faults]
    found = AllTables(all_values, all_sources, arrays.entries)
    for table in (*TABLES, *ARRAYS):
        faults += table.settle(found)
    raise_faults(faults)
    settings: dict[type, Any] = {table.settings: build(table.settings, found.values[table.name]) for table in TABLES}
    for array in ARRAYS:
        settings[array.settings] = tuple(build(array.settings, entry) for entry in found.entries[array.name])
    sources = {table.full_name(name): source for table in TABLES for name, source in found.sources[table.name].items()}
    return Loaded(settings, sources | arrays.sources)


def _layers(
    table: Table,
    cli: Mapping[str, str],
    environ: Mapping[str, str],
    top: Mapping[str, object],
    parts: Mapping[str, Mapping[str, object]],
) -> list[tuple[list[Given], list[str]]]:
    """The values that each layer gives for a table, and the names in it that are none, strongest layer first."""
    kind = table.settings
    if table.name:
        return [from_table(kind, table.prepare(parts[table.name]), f"{TOML_NAME} [{table.name}]")]
    return [
        from_table(kind, cli, "command line"),
        from_environment(kind, environ, ENV_PREFIX, _ALIASES, [HOME_VARIABLE, PURE_VARIABLE]),
        from_table(kind, parts[_ROUTER], f"{TOML_NAME} [{_ROUTER}]"),
        from_table(kind, top, TOML_NAME),
    ]


_ROUTER: Final = "router"
"""The table in which the router's own settings may stand as well."""


def _split(
    toml: Mapping[str, object],
) -> tuple[dict[str, object], dict[str, Mapping[str, object]], list[str]]:
    """Part the file into its top level, its tables by name, and faults for tables that nobody knows."""
    top: dict[str, object] = {}
    parts: dict[str, Mapping[str, object]] = {_ROUTER: {}, **{table.name: {} for table in TABLES if table.name}}
    faults: list[str] = []
    arrays = {array.name: array.header for array in ARRAYS}
    for name, value in toml.items():
        if name in arrays:
            pass  # `read_arrays` does
        elif name in parts and isinstance(value, Mapping):
            parts[name] = value
        elif name in parts:
            faults.append(f"{name} = {value!r}: expected a table ({TOML_NAME})")
        elif isinstance(value, Mapping) or is_array(value):
            written = f"[{name}]" if isinstance(value, Mapping) else f"[[{name}]]"
            faults.append(unknown_name(written, [*(f"[{known}]" for known in parts), *arrays.values()], TOML_NAME))
        else:
            top[name] = value
    return top, parts, faults
