"""Settings by name, as a file would have them, without one."""

from __future__ import annotations

from app.settings.engine import Given, build, raise_faults, resolve
from app.settings.tables.router_settings import RouterConfig

__all__ = ["router_config"]


def router_config(**settings: object) -> RouterConfig:
    """The router's settings, those of its groups among them. Raises `ConfigError` with every fault."""
    found = resolve(RouterConfig, [Given(name, value, "") for name, value in settings.items()])
    raise_faults(found.faults)
    made = build(RouterConfig, found.values)
    assert isinstance(made, RouterConfig)
    return made
