"""How the record of a release is made: from the options, the settings and the environment of this command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.processes.launch import clean_environment, fill, find_program, words_of
from app.deploy.record.history import user_name
from app.deploy.release.env_files import read_env_files
from app.deploy.release.missing_command import refuse_demo_for, settings_in_use
from app.deploy.release.places import (
    files_named,
    follow_path_list,
    follow_text,
    follow_word,
    paths_in,
    paths_named,
    revision_of,
)
from app.installation import ROOT, is_package
from app.operator_errors import ConfigError, UsageError
from app.settings.checks import is_release_name
from app.settings.tables.app_settings import AppConfig
from app.shell_text import idiom_in
from app.state.model import VersionState
from app.state.release import Release
from app.withheld import CLEAN, is_named

__all__ = ["StartSpec", "spec_of", "make", "remake", "settings_env"]

_DEMO_DIR = ROOT / "app" / "demo"
"""Its own directory: gunicorn loads whatever gunicorn.conf.py it finds where it starts."""

_DEMO_COMMAND = (
    f"{shlex.quote(sys.executable)} -m gunicorn --no-control-socket --bind {{address}}:{{port}} "
    f"--worker-class gthread --threads 32 --keep-alive 75 --graceful-timeout 8 "
    f"--pythonpath {shlex.quote(str(ROOT))} 'app.demo.demo_app:create_app()'"
)


class StartSpec(NamedTuple):
    """What a version is to be started with, in words: its own options, else the settings, else the demo."""

    dir: str
    command: str
    is_demo: bool

    @classmethod
    def of(cls, version: VersionState, app: AppConfig) -> StartSpec:
        """What holds for this version now."""
        command = version.command or app.command
        if command:
            return cls(version.dir or app.dir, command, False)
        return cls.demo(app)

    @classmethod
    def demo(cls, app: AppConfig) -> StartSpec:
        """The bundled demo application."""
        is_bare = ":" not in app.address  # an IPv6 address is in brackets where a port follows (RFC 3986 §3.2.2)
        bind = "{address}:{port}" if is_bare else "[{address}]:{port}"
        if app.bind == "unix":
            bind = "unix:{socket}"
        return cls(str(_DEMO_DIR), _DEMO_COMMAND.replace("{address}:{port}", bind), True)


def spec_of(version: VersionState, release: Release) -> VersionState:
    """The version, as it is remembered once it is started with this release."""
    return replace(
        version,
        release=release.name,
        record=release.id,
        directory=release.directory,
        revision=release.revision,
    )


def make(deployment: Deployment, version: VersionState, *, is_deploy: bool = False, is_demo: bool = False) -> Release:
    """A new release from what the version's options, the settings and our environment say now; or of the demo.

    Raises `ConfigError` when the directory or the program is not there, and `UsageError` when the release has no name
    and there is a place for one.
    """
    given = StartSpec.demo(deployment.app) if is_demo else StartSpec.of(version, deployment.app)
    for text in (given.dir, given.command, *deployment.app.env_file, *deployment.app.env.values()):
        if "{release}" in text and not version.release:
            raise UsageError(
                f"{_in_words(text, deployment.app)} has a place for the release, and {version.name} has no name for it",
                "--release=NAME with start, run or deploy",
            )
    if not _by_shell(deployment, given) and (idiom := idiom_in(given.command)):
        told = f"--command has {idiom}".replace(" in the same table", " in [app]")
        raise UsageError(told, f"{PROGRAM} --help")
    is_in_path = any("{release}" in path for path in (given.dir, *deployment.app.env_file))
    if is_in_path and not is_release_name(version.release or ""):
        raise UsageError(
            f"{version.release!r} cannot be the name of a release's directory: it has a / or a character that cannot "
            "be printed, begins with . or -, or is too long",
            "--release=NAME",
        )
    folder = Path(fill(given.dir, _words(version))).absolute()
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a directory, so {version.name} cannot run there", "--dir=DIRECTORY")
    if deployment.release.current:
        from app.deploy.release.current_link import refuse_way_through

        refuse_way_through(deployment, [str(folder), *paths_in(given.command)], str(folder))
    return _made(deployment, version, given, folder.resolve(), is_deploy=is_deploy)


def _in_words(text: str, app: AppConfig) -> str:
    """A text of the settings, or the name of the variable that has it as its value."""
    return next((f"[app] env, {name}," for name, value in app.env.items() if value == text), repr(text))


def remake(deployment: Deployment, version: VersionState, before: Release, *, is_other_code: bool = False) -> Release:
    """The same release once more, with the settings and the environment of now.

    Its directory stays what it was. `is_other_code`: something else was put there meanwhile.
    """
    given = StartSpec.of(version, deployment.app)
    if given.is_demo and not before.is_demo:
        raise refuse_demo_for(before)
    release = _made(deployment, version, given, Path(before.directory), is_deploy=before.is_deploy)
    return replace(release, given_dir=before.given_dir, origin=release.id if is_other_code else before.origin)


def _words(version: VersionState) -> dict[str, str]:
    return {"version": version.name, "release": version.release or ""}


def _made(
    deployment: Deployment, version: VersionState, given: StartSpec, directory: Path, *, is_deploy: bool
) -> Release:
    id_ = deployment.releases.next_id()
    inherited = {name: follow_path_list(name, value) for name, value in _environment(deployment).items()}
    files_env = read_env_files(deployment.app, version, inherited, lambda text: deployment.note(text, warns=True))
    env = settings_env(deployment.app, version.release)
    is_shell = _by_shell(deployment, given)
    words = words_of(given.command, version.release, is_shell=is_shell)
    command = tuple(_followed(word, version, directory, is_shell=is_shell) for word in words)
    filled = [fill(word, {"port": str(version.port), "version": version.name}) for word in command]
    if is_shell:
        filled = [filled[0], *paths_in(filled[-1])]
    hint = "[app] command in traffic_router.toml, or --command=COMMAND"
    program = find_program(filled[0], directory, {**inherited, **files_env.get(version.name, {}), **env}, hint)
    own = filled if "{release}" in given.command else _led_by_links(words, command) + paths_named(filled)
    return Release(
        id=id_,
        name=version.release,
        made_at=round(deployment.now(), 3),
        made_by=user_name(),
        is_deploy=is_deploy,
        is_demo=given.is_demo,
        origin=id_,
        given_dir=given.dir,
        given_command=given.command,
        directory=str(directory),
        inode=directory.stat().st_ino,
        revision=None if given.is_demo else revision_of(directory),
        command=command,
        program=os.path.realpath(program),
        place=(
            str(directory),
            program,
            *own,
            *(env[name] for name, text in deployment.app.env.items() if "{release}" in text),
        ),
        stop_signal=deployment.app.stop_signal,
        files={} if given.is_demo else files_named([*filled, program], directory),
        inherited=inherited,
        env=env,
        files_env=files_env,
        settings_file=settings_in_use(),
    )


def settings_env(app: AppConfig, release: str | None) -> dict[str, str]:
    """What the settings themselves add to a version's environment; `{port}`, `{address}` and `{version}` stay."""
    return {name: follow_path_list(name, fill(value, {"release": release or ""})) for name, value in app.env.items()}


def _led_by_links(words: Sequence[str], command: Sequence[str]) -> list[str]:
    """The words of a command that are others since links were followed."""
    return [followed for word, followed in zip(words, command, strict=True) if word != followed]


def _environment(deployment: Deployment) -> dict[str, str]:
    """What a version gets of the environment that this command was given."""
    # A package may be in the environment of the application, and among the system's programs.
    passed = clean_environment(deployment.environ, None if is_package() else sys.prefix)
    if not deployment.app.clean_env:
        return passed
    return {name: value for name, value in passed.items() if is_named(name, (*CLEAN, *deployment.app.pass_env))}


def _by_shell(deployment: Deployment, given: StartSpec) -> bool:
    return deployment.app.shell and not given.is_demo


def _followed(word: str, version: VersionState, directory: Path, *, is_shell: bool) -> str:
    """A word of the command with `{release}` filled in and links followed; `{port}` and `{version}` stay."""
    named = fill(word, {"release": version.release or ""})
    if is_shell:
        return follow_text(named, directory)
    whole = fill(named, {"port": str(version.port), "version": version.name})
    followed = follow_word(whole, directory)
    return named if followed == whole else followed
