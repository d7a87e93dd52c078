"""Where the releases lie, if each has a directory of its own: the table `[release]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from app.settings import checks
from app.settings.declaration import AllTables, Table
from app.settings.engine import Rule, enforce, setting

__all__ = ["ReleaseConfig"]

_RULES = (
    Rule(
        ("dir", "current"),
        lambda dir_, current: not dir_ or not current or dir_.rpartition("/")[0] != current.rpartition("/")[0],
        "the link would lie among the releases and be taken for one",
    ),
    Rule(("dir", "prune"), lambda dir_, prune: bool(dir_) or not prune, "without dir nobody knows what a release is"),
)


@dataclass(frozen=True)
class ReleaseConfig:
    """Where the releases lie, if each has a directory of its own; raises `ConfigError` with every fault when made."""

    dir: str = setting(
        "",
        "Directory of a release: `start`, `run` and `deploy` look there for the one that `--release` names.",
        zero="`[app] dir` alone",
        rule="a path whose last part has {release} in it, and no other placeholder",
        check=checks.is_release_dir,
    )
    current: str = setting(
        "",
        "Link that leads to the active version's release; it is moved right after each switch, and back by a rollback.",
        zero="no link",
        rule="a link's path",
        check=checks.is_link,
    )
    keep: int = setting(5, "Releases that `releases prune` keeps, those in use among them.", low=1, high=1000)
    prune: bool = setting(False, "Prune after each `deploy` that did well.")

    def __post_init__(self) -> None:
        enforce(self, _RULES)


def _settle(found: AllTables) -> list[str]:
    """Where the command runs by `[app] dir` and `[release] dir` together, and what is wrong with that."""
    release_dir, app = found.values["release"]["dir"], found.values["app"]
    if not release_dir:
        return []
    inside = PurePosixPath(app["dir"])
    if inside.is_absolute() or ".." in inside.parts:
        return [f"[app] dir = {app['dir']!r}: expected a place inside the release, as [release] dir is set"]
    app["dir"] = str(release_dir / inside)
    return []


TABLE: Final = Table(
    name="release",
    settings=ReleaseConfig,
    title="Releases",
    about="for releases that have a directory each: [how to lay out releases](../how-to/lay-out-releases.md).",
    rules=_RULES,
    settle=_settle,
)
