"""All settings of a process, put together from their layers.

Precedence: command line over environment (`TRAFFIC_ROUTER_<FIELD>`, and `PORT`) over `traffic_router.toml` over
defaults. The first two are for the router's own settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from app.settings.declaration import AllTables, Table
from app.settings.engine import (
    Given,
    Setting,
    build,
    describe,
    from_environment,
    from_table,
    raise_faults,
    resolve,
    unknown_name,
    values_of,
)
from app.settings.tables import TABLES
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.backends_settings import BackendsConfig
from app.settings.tables.deploy_settings import DeployConfig
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

    settings: Mapping[type, Any]  # each an instance of its class, which a mapping's type cannot say
    sources: Mapping[str, str]

    @classmethod
    def just(cls, *settings: object) -> Loaded:
        """Settings made by a program; what is not given has its defaults."""
        return cls({type(one): one for one in settings}, {})

    def of(self, kind: type[T]) -> T:
        """The settings of one table, by their class."""
        found: T | None = self.settings.get(kind)
        return kind() if found is None else found

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
    faults += resolved_faults
    found = AllTables(all_values, all_sources)
    for table in TABLES:
        faults += table.settle(found)
    raise_faults(faults)
    settings = {table.settings: build(table.settings, found.values[table.name]) for table in TABLES}
    sources = {table.full_name(name): source for table in TABLES for name, source in found.sources[table.name].items()}
    return Loaded(settings, sources)


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
    for name, value in toml.items():
        if name in parts and isinstance(value, Mapping):
            parts[name] = value
        elif name in parts:
            faults.append(f"{name} = {value!r}: expected a table ({TOML_NAME})")
        elif isinstance(value, Mapping):
            faults.append(unknown_name(f"[{name}]", [f"[{known}]" for known in parts], TOML_NAME))
        else:
            top[name] = value
    return top, parts, faults
