"""The backends of each version that others run, and the choice among several: the table `[backends]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.address import MAX_BACKENDS, backends_of
from app.settings import checks
from app.settings.declaration import AllTables, Table
from app.settings.engine import enforce, setting

__all__ = ["BackendsConfig"]

_LISTED = 'a list of addresses such as "10.0.0.7:8000", "[fd00::7]:8000 weight=3", "shop:8000" or "unix:/run/shop.sock"'


@dataclass(frozen=True)
class BackendsConfig:
    """Where the versions listen that others run; raises `ConfigError` with every fault when made."""

    blue: tuple[str, ...] = setting(
        (),
        f"Where blue listens, where others run it; up to {MAX_BACKENDS}, of which each request goes to one.",
        zero="`[app] blue_port` of this machine",
        rule=_LISTED,
        check=checks.is_backend,
    )
    green: tuple[str, ...] = setting(
        (),
        "Where green listens, likewise.",
        zero="`[app] green_port` of this machine",
        rule=_LISTED,
        check=checks.is_backend,
    )
    resolve_interval: float = setting(
        5.0,
        "Look up the addresses of backends that are given by name anew, this often; each address is a backend.",
        unit="seconds",
        low=0.1,
        high=3600,
    )
    balance: str = setting(
        "least",
        "How a request's backend is chosen: with the fewest requests in flight, counted over all workers (least); each"
        " in turn (round-robin); or always the same one for the same client, cookie or field of the request (hash:…),"
        " unless that has a quarter more to do than the others.",
        rule="least, round-robin, hash:client, hash:cookie=NAME or hash:header=NAME",
        check=checks.is_balance,
    )
    affinity: str = setting(
        "",
        "Have a client stay on its backend by a cookie of the router's own, `__router_backend`, that never reaches the"
        " application; after a switch, or while that one is out or has `max_in_flight`, it goes to another.",
        zero="none",
        rule="cookie or nothing",
        check=lambda text: text in ("", "cookie"),
    )
    eject_time: float = setting(
        5.0,
        "Leave a backend alone for this long after `circuit_failures` gateway failures in a row; each further time in a"
        " row for twice as long, a minute at most.",
        unit="seconds",
        low=0.1,
        high=60,
    )

    slow_start: float = setting(
        0.0,
        "Let the share of a backend that has come, or come back, grow from a tenth of it to all within this time.",
        unit="seconds",
        zero="all of it at once",
        high=600,
    )
    max_in_flight: int = setting(
        0,
        "Send a backend at most this many requests at a time, counted over all workers; what comes beyond that waits"
        " in the router, in order, and may still go to any backend, or to the other version after a switch.",
        zero="as many as come",
        high=100_000,
    )
    queue: int = setting(
        100,
        "Let at most this many requests wait for `max_in_flight`, over all workers; further ones are told 503 at once.",
        high=100_000,
    )
    queue_timeout: float = setting(
        10.0,
        "Let a request wait for this long at most; then it is told 503.",
        unit="seconds",
        low=0.1,
        high=3600,
    )

    def __post_init__(self) -> None:
        enforce(self, ())

    def listed(self, version: str) -> tuple[str, ...]:
        """The backends of a version that others run; none of one that listens on its port here."""
        return self.blue if version == "blue" else self.green


def _settle(found: AllTables) -> list[str]:
    values, faults = found.values["backends"], []
    for version in ("blue", "green"):
        try:
            backends_of(values[version])
        except ValueError as error:
            faults.append(f"[backends] {version}: {error}")
    if values["affinity"] and values["balance"].startswith("hash:"):
        faults.append(f"[backends] affinity: balance = {values['balance']} keeps a client on its backend already")
    shared = {one.split()[0] for one in values["blue"]} & {one.split()[0] for one in values["green"]}
    faults += [f"[backends] blue, green: {address} cannot be both" for address in sorted(shared)]
    return faults


TABLE: Final = Table(
    name="backends",
    settings=BackendsConfig,
    title="Backends",
    about="for versions that listen at several places, or that others run:"
    " [several backends](../how-to/use-several-backends.md).",
    settle=_settle,
)
