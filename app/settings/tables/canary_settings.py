"""Two versions in traffic: the table `[canary]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.settings.declaration import Table
from app.settings.engine import enforce, setting

__all__ = ["CanaryConfig"]


@dataclass(frozen=True)
class CanaryConfig:
    """How a release is tried with a share of the traffic; raises `ConfigError` with every fault when made."""

    tell: bool = setting(False, "Say in each answer of a version which one it is, in the field `X-Router-Version`.")

    def __post_init__(self) -> None:
        enforce(self, ())


TABLE: Final = Table(
    name="canary",
    settings=CanaryConfig,
    title="Two versions in traffic",
    about="what goes while a [split](state-file.md#two-versions-in-traffic) gives the standby a share of the requests.",
)
