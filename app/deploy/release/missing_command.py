"""No command is set: is this a deployment that has only ever run the bundled demo, or has it lost its settings?

Settings are lost when `traffic_router.toml` is moved or `$TRAFFIC_ROUTER_HOME` is another. The demo must not go live
for that in the place of an application.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from app.deploy.deployment import Deployment
from app.deploy.record.history import History
from app.operator_errors import ConfigError
from app.settings.loading import HOME_VARIABLE, TOML_NAME
from app.settings.tables.app_settings import AppConfig
from app.state.model import BlueGreenState
from app.state.release import Release

__all__ = ["check_command_is_set", "refuse_demo_for", "settings_in_use"]


class _Known(NamedTuple):
    """Something else than the demo that this deployment ran: in words, and how to run it again, as far as known."""

    text: str
    command: str = ""
    dir: str = ""
    settings_file: str | None = None


def settings_in_use() -> str | None:
    """The absolute path of the settings file in effect; None when there is none."""
    path = os.path.abspath(TOML_NAME)
    return path if os.path.isfile(path) else None


def check_command_is_set(deployment: Deployment, dir_: str | None) -> None:
    """Raises `ConfigError` where the demo would run in the place of something else; `dir_` is what --dir said.

    Called when neither the options nor the settings name a command and nobody insists on the demo.
    """
    if dir_ is not None:
        raise _missing(f"--dir={dir_} names a directory, and nothing says what to run there", _Known("", dir=dir_))
    if deployment.app.dir != AppConfig().dir:
        raise _missing(f"the settings name a directory, {deployment.app.dir}, and no command", _Known(""))
    if known := next(_known(deployment), None):
        raise _missing(f"no command is set, and {known.text}", known)


def refuse_demo_for(release: Release) -> ConfigError:
    """For a release of an application that would be started again as the demo."""
    return _missing(f"no command is set, and {_text(release)}", _known_of(release))


def _missing(why: str, known: _Known) -> ConfigError:
    home = os.environ.get(HOME_VARIABLE)
    there = "which names none" if settings_in_use() else "which is not there"
    looked = f"[app] command was looked for in {os.path.abspath(TOML_NAME)}, {there}"
    set_to = f"= {home}" if home else "is not set"
    return ConfigError(
        f"{why}; the bundled demo is not put in its place\n  {looked} (${HOME_VARIABLE} {set_to})", _cure(known)
    )


def _cure(known: _Known) -> str:
    """What helps: the settings where they are known to be, else the options that say as much."""
    file = known.settings_file
    if file and os.path.isfile(file) and file != settings_in_use() and os.path.basename(file) == TOML_NAME:
        return f"export {HOME_VARIABLE}={shlex.quote(os.path.dirname(file))}   # its settings are there"
    options = [f"--command={shlex.quote(known.command) if known.command else 'COMMAND'}"]
    options += [f"--dir={shlex.quote(known.dir)}"] if known.dir else []
    return f"the same with {' '.join(options)}, or with --demo for the bundled demo"


# --- what is known ----------------------------------------------------------------------------------------


def _known(deployment: Deployment) -> Iterator[_Known]:
    """Everything that this deployment is known to have run besides the demo, the latest first."""
    records = deployment.releases.all()
    state = deployment.store.read_or_new()
    current = state.active.record if state.active is not None else None
    # What is active now is what the settings were for.
    for release in sorted(records, key=lambda one: (one.id != current, -one.number)):
        if not release.is_demo:
            yield _known_of(release)
    demos = {release.id for release in records if release.is_demo}
    yield from _in_state(state, demos)
    for entry in reversed(History(deployment.store.folder / "history.jsonl").entries()):
        if is_other := _other_than_demo(entry.runs, demos):
            yield _Known(f"`{entry.command}` of the history ran {is_other}", *_given(entry.runs))
    if (active := state.active) is not None and active.record is None and active.started_at is None:
        yield _Known(f"{active.name}, which is active, was not started from here")
    if settings_in_use() is None:
        for release in reversed(records):
            if file := release.settings_file:
                yield _Known(f"{file}, with which the demo was started, is not in use any more", settings_file=file)


def _in_state(state: BlueGreenState, demos: set[str]) -> Iterator[_Known]:
    for version in state.versions.values():
        if is_other := _other_than_demo(version.started_with, demos):
            yield _Known(f"{version.name} was started with {is_other}", *_given(version.started_with))


def _other_than_demo(runs: Mapping[str, str | None], demos: set[str]) -> str:
    """What shows that this was not the demo, in words; "" when nothing does."""
    if runs.get("record") in demos:
        return ""
    if command := runs.get("command"):
        return repr(command)
    directory = runs.get("dir") or runs.get("directory") or ""
    # The demo of another checkout was the demo, too.
    return directory if directory and Path(directory).parts[-2:] != ("app", "demo") else ""


def _given(runs: Mapping[str, str | None]) -> tuple[str, str]:
    return runs.get("command") or "", runs.get("dir") or ""


def _known_of(release: Release) -> _Known:
    is_anywhere = os.path.isabs(release.given_dir) or "{" in release.given_dir
    dir_ = release.given_dir if is_anywhere else release.directory
    return _Known(_text(release), release.given_command, dir_, release.settings_file)


def _text(release: Release) -> str:
    name = f"release {release.name}" if release.name else "the last one"
    settings = f" by {release.settings_file}" if release.settings_file else ""
    return f"{name} was started with {release.given_command!r} in {release.directory}{settings}"
