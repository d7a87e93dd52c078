"""What is executed for a version: arguments, directory and environment, worked out from the settings."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.config import AppConfig
from app.errors import ConfigError, UsageError
from app.state.model import VersionState

__all__ = ["Launch", "check_of", "clean_environment", "launch_of"]

_ROOT = Path(__file__).resolve().parents[2]

_DEMO_DIR = _ROOT / "app" / "demo"
"""Its own directory: gunicorn loads whatever gunicorn.conf.py it finds where it starts."""

_DEMO_COMMAND = (
    f"{shlex.quote(sys.executable)} -m gunicorn --no-control-socket --bind 127.0.0.1:{{port}} "
    f"--worker-class gthread --threads 32 --keep-alive 75 --graceful-timeout 8 "
    f"--pythonpath {shlex.quote(str(_ROOT))} 'app.demo.demo_app:create_app()'"
)

_DROPPED = frozenset(
    {
        # They make a Python, or a gunicorn, of the application's find our packages and settings.
        *(
            "VIRTUAL_ENV",
            "VIRTUAL_ENV_PROMPT",
            "PYTHONPATH",
            "PYTHONHOME",
            "GUNICORN_CMD_ARGS",
            "__PYVENV_LAUNCHER__",
        ),
        # They are between systemd and the process that it started.
        *("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
        # Set anew for each version.
        *("PORT", "BG_VERSION", "BG_RELEASE"),
    }
)

_DROPPED_PREFIX = "TRAFFIC_ROUTER_"


class Launch(NamedTuple):
    """One process to be: no shell comes between these arguments and the program."""

    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]

    @property
    def command(self) -> str:
        """The arguments as a shell would take them, for people."""
        return shlex.join(self.arguments)


def launch_of(version: VersionState, app: AppConfig, environ: Mapping[str, str] = os.environ) -> Launch:
    """The process of a version: as the version's own `dir` and `command` say, else as configured, else the
    demo.

    `{port}`, `{version}` and `{release}` are filled in. Raises `ConfigError` when the directory or the
    program is not there, and `UsageError` when the release has no name and there is a place for one.
    """
    command, folder = version.command or app.command, version.dir or app.dir
    if not command:
        command, folder = _DEMO_COMMAND, str(_DEMO_DIR)
    for text in (folder, command):
        if "{release}" in text and not version.release:
            raise UsageError(
                f"{text!r} has a place for the release, and {version.name} has no name for it",
                "--release=NAME with start, run or deploy",
            )
    return _launch(version, command, folder, app, environ, "[app] command in traffic_router.toml, or --command=COMMAND")


def check_of(
    command: str, setting: str, version: VersionState, app: AppConfig, environ: Mapping[str, str] = os.environ
) -> Launch:
    """The process of a command that tries a version; in the version's directory and environment.

    Placeholders and errors are those of `launch_of`; `setting` is where the command was set.
    """
    return _launch(version, command, version.dir or app.dir, app, environ, f"{setting} in traffic_router.toml")


def _launch(
    version: VersionState, command: str, folder: str, app: AppConfig, environ: Mapping[str, str], hint: str
) -> Launch:
    words = {"port": str(version.port), "version": version.name, "release": version.release or ""}
    # First split, then filled in: a value with a space or a quote in it stays one argument.
    arguments = tuple(_fill(argument, words) for argument in _split(command))
    directory = Path(_fill(folder, words)).absolute()
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory, so {version.name} cannot run there", "--dir=DIRECTORY")
    environment = clean_environment(environ, sys.prefix) | app.env
    environment |= {"PORT": words["port"], "BG_VERSION": version.name, "BG_RELEASE": words["release"]}
    _check_program(arguments[0], directory, environment, hint)
    return Launch(arguments, directory, environment)


def clean_environment(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The user's environment without what is ours: a version must not run on our Python, packages or
    settings.

    `prefix` is our virtual environment; its programs leave `PATH`, as they were never on it in a plain shell.
    """
    kept = {
        name: value for name, value in environ.items() if name not in _DROPPED and not name.startswith(_DROPPED_PREFIX)
    }
    if "PATH" in kept:
        own = Path(prefix) / "bin"
        kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if Path(part) != own)
    return kept


def _check_program(program: str, directory: Path, environment: Mapping[str, str], hint: str) -> None:
    """Look where exec would look: on the version's own PATH, or in its directory for a name with a slash."""
    import shutil  # takes its time, and only who starts something needs it

    where = str(directory / program) if "/" in program else program
    if shutil.which(where, path=environment.get("PATH")) is None:
        if os.path.isfile(where) and "/" in program:
            raise ConfigError(f"{where} is not executable", f"chmod +x {shlex.quote(where)}")
        raise ConfigError(f"there is no program {program!r} to run", hint)


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the command {command!r} cannot be split into words: {error}") from error
    if not arguments:
        raise ConfigError(f"the command {command!r} names no program", "--command='PROGRAM ARGUMENT...'")
    return arguments


def _fill(text: str, words: Mapping[str, str]) -> str:
    # Not str.format: a brace that is none of ours belongs to the command (`-c '{"a": 1}'`).
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text
