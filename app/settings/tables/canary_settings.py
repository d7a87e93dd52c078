"""Two versions in traffic: the table `[canary]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.canary.course import DEFAULT_STEPS
from app.settings import checks
from app.settings.declaration import Table
from app.settings.engine import enforce, setting
from app.state.split import is_sticky

__all__ = ["CanaryConfig"]


@dataclass(frozen=True)
class CanaryConfig:
    """How a release is tried with a share of the traffic; raises `ConfigError` with every fault when made."""

    steps: str = setting(
        DEFAULT_STEPS,
        "The shares of the requests that a canary is given, one after the other, each with its least time where that"
        " is not a minute: `1%:2m 10%:30s 50%`. With little traffic the first ones are left out.",
        rule="rising shares of more than 0% and less than 100%, each perhaps with a time as in 5%:90s",
        check=checks.is_steps,
    )
    sticky: str = setting(
        "off",
        "Who is one client, to stay at its version: by a `cookie` of the router's, by the `client`'s address, or by"
        " the value of a field, `header:NAME`. With `off` each request goes its own way, which finds faults soonest.",
        rule="off, cookie, client or header:NAME",
        check=is_sticky,
    )
    require_proof: bool = setting(
        False, "Promote only what has been shown not to be twice as bad, not everything that nothing speaks against."
    )
    on_inconclusive: str = setting(
        "hold",
        "What comes of a step that could not be judged for `patience`: the canary keeps its share, gets all requests"
        " or none.",
        rule="hold, promote or abort",
        check=checks.is_choice_when_inconclusive,
    )
    patience: float = setting(900.0, "How long a step waits to be judged.", unit="seconds", low=10, high=86_400)
    warm_up: float = setting(
        30.0,
        "What a canary does at first is not judged: for this time, or its first 20 requests if these are done sooner.",
        unit="seconds",
        low=0,
        high=3600,
    )
    bake: float = setting(
        600.0,
        "How long a canary that was given all requests is watched, as by `deploy --watch`.",
        unit="seconds",
        low=0,
        high=86_400,
        zero="not at all",
    )
    tell: bool = setting(False, "Say in each answer of a version which one it is, in the field `X-Router-Version`.")

    def __post_init__(self) -> None:
        enforce(self, ())


TABLE: Final = Table(
    name="canary",
    settings=CanaryConfig,
    title="Two versions in traffic",
    about="what goes while a [split](state-file.md#two-versions-in-traffic) gives the standby a share of the requests,"
    " and how `canary` [conducts one](../how-to/try-a-release-on-a-few.md).",
)
