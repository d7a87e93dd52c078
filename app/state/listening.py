"""Where a version listens: at the backends that others run, else where its own processes do, else at its port."""

from __future__ import annotations

from app.address import Address, Backend, backends_of
from app.settings.tables.backends_settings import BackendsConfig
from app.state.model import VersionState

__all__ = ["listed", "places"]


def listed(version: VersionState, settings: BackendsConfig) -> tuple[str, ...]:
    """The backends that are named for a version, by the state before the settings: others run it. None of any other."""
    return version.backends or settings.listed(version.name)


def places(version: VersionState, address: str, settings: BackendsConfig) -> tuple[Backend, ...]:
    """All places where a version listens, at least one; `address` is that of its port."""
    named = listed(version, settings) or version.instances
    return backends_of(named) or (Backend(Address(address, version.port)),)
