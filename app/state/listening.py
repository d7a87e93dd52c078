"""Where a version listens: at the backends that others run, else where its own processes do, else at its port."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.address import Address, Backend, backends_of, resolved
from app.settings.tables.backends_settings import BackendsConfig
from app.state.model import VersionState

__all__ = ["listed", "places", "written"]


def listed(version: VersionState, settings: BackendsConfig) -> tuple[str, ...]:
    """The backends that are named for a version, by the state before the settings: others run it. None of any other."""
    return version.backends or settings.listed(version.name)


def written(version: VersionState, settings: BackendsConfig) -> tuple[str, ...]:
    """The addresses of these as they are written, names unresolved, without their weights."""
    return tuple(text.split()[0] for text in listed(version, settings))


def places(
    version: VersionState, address: str, settings: BackendsConfig, addresses_of: Callable[[str], Iterable[str]]
) -> tuple[Backend, ...]:
    """All places where a version listens, at least one.

    Args:
        address: that of its port.
        addresses_of: the IP addresses of a name.
    """
    named = listed(version, settings) or version.instances
    return resolved(backends_of(named), addresses_of) or (Backend(Address(address, version.port)),)
