"""What is executed for a version: arguments, directory and environment, worked out from its release."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from app.command_line import PROGRAM
from app.operator_errors import ConfigError, UsageError
from app.shell_text import by_shell
from app.state.instances import one_of, socket_of
from app.state.model import VersionState
from app.state.release import Release
from app.withheld import without_withheld

__all__ = ["Launch", "RestartPolicy", "check_of", "clean_environment", "fill", "find_program", "launch_of", "words_of"]

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
        *("PORT", "BG_VERSION", "BG_RELEASE", "BG_INSTANCE", "BG_SOCKET"),
    }
)

_DROPPED_PREFIX = "TRAFFIC_ROUTER_"


class RestartPolicy(NamedTuple):
    """Whether a process that fails is started again: so many times in a row, the second time after `delay_s` seconds
    and later ones after twice as long each; `grace_s` is the time for what a failed one has left behind.
    """

    limit: int = 0
    delay_s: float = 1.0
    grace_s: float = 10.0


class Launch(NamedTuple):
    """One process to be: no shell comes between these arguments and the program."""

    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    restart: RestartPolicy = RestartPolicy()

    @property
    def command(self) -> str:
        """The arguments as a shell would take them, for people."""
        return shlex.join(self.arguments)


def launch_of(release: Release, version: VersionState, address: str, number: int = 1) -> Launch:
    """The process of that number of a version that is started with a release, to listen on `address`.

    Raises `ConfigError` when the directory or the program is not there.
    """
    hint = "[app] command in traffic_router.toml, or --command=COMMAND with start, run or deploy"
    return _launch(release, version, address, release.command, release.directory, hint, number)


def check_of(
    command: str, setting: str, release: Release, version: VersionState, address: str, *, is_shell: bool = False
) -> Launch:
    """The process of a command that tries a version; in the release's directory and environment.

    What is filled into `[app] command` is filled in here, as for the first process; errors are those of `launch_of`.
    `setting` is where the command was set.
    """
    folder = os.getcwd() if release.is_demo else release.directory
    words = words_of(command, release.name, is_shell=is_shell)
    return _launch(release, version, address, words, folder, f"{setting} in traffic_router.toml")


def _launch(
    release: Release,
    version: VersionState,
    address: str,
    words: Sequence[str],
    folder: str,
    hint: str,
    number: int = 1,
) -> Launch:
    values = {
        "port": str(one_of(version, number).port),
        "address": address,
        "version": version.name,
        "release": release.name or "",
        "instance": str(number),
    }
    own = {"PORT": values["port"], "BG_VERSION": version.name, "BG_RELEASE": values["release"]}
    if version.instances:
        own["BG_INSTANCE"] = values["instance"]
    if socket := socket_of(version, number):
        values["socket"] = own["BG_SOCKET"] = socket
    # First split, then filled in: a value with a space or a quote in it stays one argument.
    arguments = tuple(fill(word, values) for word in words)
    directory = Path(folder)
    if not directory.is_dir():
        raise ConfigError(
            f"{directory} is not a directory, so {version.name} cannot run there",
            "--dir=DIRECTORY with start, run or deploy",
        )
    environment = {**release.inherited, **_of_files(release, version)}
    environment |= {name: fill(text, values) for name, text in release.env.items()}
    environment |= own
    find_program(arguments[0], directory, environment, hint)
    return Launch(arguments, directory, environment)


def _of_files(release: Release, version: VersionState) -> Mapping[str, str]:
    if release.files_env and version.name not in release.files_env:
        raise ConfigError(
            f"{version.name} had no [app] env_file of its own when release {release.name or release.id} was started",
            f"{PROGRAM} deploy --release=NAME",
        )
    return release.files_env.get(version.name, {})


def clean_environment(environ: Mapping[str, str], prefix: str | None) -> dict[str, str]:
    """The user's environment without what is ours, or the shell's, hook's or job's: a version must not run on our
    Python, packages or settings, and outlives those.

    `prefix` is our virtual environment, if it is ours alone; its programs leave `PATH`, as they were never on it in a
    plain shell.
    """
    kept = {
        name: value
        for name, value in without_withheld(environ).items()
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIX)
    }
    if "PATH" in kept and prefix is not None:
        own = Path(prefix) / "bin"
        kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if Path(part) != own)
    return kept


def find_program(program: str, directory: Path, environment: Mapping[str, str], hint: str) -> str:
    """Look where exec would look: on the version's own PATH, or in its directory for a name with a slash.

    Gives the path; raises `ConfigError` when there is none.
    """
    import shutil  # takes its time, and only who starts something needs it

    where = str(directory / program) if "/" in program else program
    found = shutil.which(where, path=environment.get("PATH"))
    if found is None:
        if os.path.isfile(where) and "/" in program:
            raise ConfigError(f"{where} is not executable", f"chmod +x {shlex.quote(where)}")
        raise ConfigError(f"there is no program {program!r} to run", hint)
    return found


def words_of(command: str, release: str | None, *, is_shell: bool) -> Sequence[str]:
    """The words of a command, by a shell or without one, its placeholders still in it.

    Raises `ConfigError` as `split` does, and `UsageError` for a release whose name a shell would take for more.
    """
    if not is_shell:
        return split(command)
    if "{release}" in command and release and shlex.quote(release) != release:
        raise UsageError(
            f"the release {release!r} cannot be filled into a command for a shell, which takes it for more than a name",
            '"$BG_RELEASE" instead of {release} in the command',
        )
    return by_shell(command)


def split(command: str) -> list[str]:
    """The words of a command; raises `ConfigError` when it has none or a quote is open."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the command {command!r} cannot be split into words: {error}") from error
    if not arguments:
        raise ConfigError(f"the command {command!r} names no program", "--command='PROGRAM ARGUMENT...'")
    return arguments


def fill(text: str, words: Mapping[str, str]) -> str:
    """The text with `{name}` replaced by the word of that name."""
    # Not str.format: a brace that is none of ours belongs to the command (`-c '{"a": 1}'`).
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text
