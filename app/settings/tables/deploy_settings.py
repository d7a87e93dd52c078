"""What a switch has to stand besides the health gate: the table `[deploy]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.settings import checks
from app.settings.commands import as_texts, idioms
from app.settings.declaration import AllTables, Table
from app.settings.engine import enforce, setting

__all__ = ["DeployConfig"]

_COMMANDS = "a list of commands with their quotes closed, each a text or a list of words"
_DAY_S = 86_400.0


@dataclass(frozen=True)
class DeployConfig:
    """What a switch has to stand besides the health gate; raises `ConfigError` with every fault when made.

    Each command runs without a shell in the version's directory and environment; `{port}`, `{address}`,
    `{version}` and `{release}` are filled in. An exit status other than 0 is a failure.
    """

    before: tuple[str, ...] = setting(
        (),
        "Commands that prepare the release of a `deploy` (migrations, static files) before its version is started or"
        " the standby stopped; one that fails stops the deploy.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    smoke: tuple[str, ...] = setting(
        (),
        "Commands that try a version before `switch` and `deploy` give it traffic; one that fails stops them.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    post: tuple[str, ...] = setting(
        (),
        "Commands that run after the switch; one that fails takes it back.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    rollback: tuple[str, ...] = setting(
        (),
        "Commands that run in the release which is left, before a `rollback`, or a deploy that goes back by itself,"
        " moves the traffic; `$BG_ROLLBACK_FROM` and `$BG_ROLLBACK_TO` name the releases.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    rollback_needs_success: bool = setting(
        False,
        "Refuse a `rollback` when a rollback command fails, instead of a warning; a deploy goes back in any case.",
    )
    shell: bool = setting(False, "Give the commands of this table to `/bin/sh -c`.")
    command_timeout: float = setting(
        60.0, "A smoke, post or rollback command must end within this time.", unit="seconds", low=0.1, high=3600
    )
    before_timeout: float = setting(
        600.0, "A before command must end within this time.", unit="seconds", low=0.1, high=_DAY_S
    )
    watch_max_errors: float = setting(
        0.0,
        "Under `--watch`, go back without proof when the share of failed requests has grown by more than this many"
        ' percentage points, as in `"5%"`.',
        unit="percent",
        low=0,
        high=100,
        zero="only what is proven",
    )

    def __post_init__(self) -> None:
        enforce(self, ())


_LISTS: Final = ("before", "smoke", "post", "rollback")
"""The settings that are lists of commands."""


def _prepare(given: Mapping[str, object]) -> Mapping[str, object]:
    return {name: as_texts(value) if name in _LISTS else value for name, value in given.items()}


def _settle(found: AllTables) -> list[str]:
    own = found.values["deploy"]
    return idioms({f"[deploy] {name}": own[name] for name in _LISTS}, is_shell=own["shell"])


TABLE: Final = Table(
    name="deploy",
    settings=DeployConfig,
    title="A deploy",
    about="what a version has to stand besides its health checks, and what is done before its start and before a way"
    " back. The commands run without a shell, in the release's directory and environment; `{port}`, `{address}`,"
    " `{version}` and `{release}` are filled in, and an exit status other than 0 is a failure. While one runs, other"
    " commands that change something wait.",
    prepare=_prepare,
    settle=_settle,
)
