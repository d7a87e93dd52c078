"""The configured commands around a switch: smoke commands before it, post commands after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

from app.deploy.events import Ran, Running
from app.deploy.launch import Launch, check_of
from app.deploy.reconcile import ending_text
from app.deploy.remaking import for_checks
from app.deploy.steps import Steps
from app.state.model import VersionState
from app.state.release import Release

__all__ = ["check_commands", "run_commands"]

_KEPT_LINES: Final = 20
_KEPT_BYTES: Final = 65_536


def check_commands(steps: Steps, version: VersionState, release: Release | None) -> None:
    """Raise `ConfigError` for a smoke or post command that could not be run; better now than after the switch.

    `release` is what the version is to be started with; without it, what it runs counts.
    """
    place = release or for_checks(steps, version)
    for setting, commands in (("[deploy] smoke", steps.deploy.smoke), ("[deploy] post", steps.deploy.post)):
        for command in commands:
            check_of(command, setting, place, version, steps.app.address)


def run_commands(steps: Steps, commands: Sequence[str], version: VersionState) -> str:
    """Run commands for a version one after the other; gives what the first that failed did, or ""."""
    release = for_checks(steps, version)
    for command in commands:
        launch = check_of(command, "[deploy]", release, version, steps.app.address)
        steps.report(Running(launch.command, steps.deploy.command_timeout))
        began = steps.clock()
        failure, output = _run(launch, steps.deploy.command_timeout)
        steps.report(Ran(launch.command, steps.clock() - began, failure, output))
        if failure:
            return f"`{launch.command}`: {failure}"
    return ""


def _run(launch: Launch, timeout_s: float) -> tuple[str, tuple[str, ...]]:
    """How a command failed, or "", and the end of its output."""
    import subprocess  # these two take their time, and most switches run no command
    import tempfile

    # A file, for a pipe would stay open for as long as anything lives that the command has started.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                launch.arguments,
                cwd=launch.directory,
                env=launch.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            return f"could not be started: {error.strerror}", ()
        try:
            status = process.wait(timeout_s)
            failure = "" if status == 0 else ending_text(status)
        except subprocess.TimeoutExpired:
            failure = f"did not end within {timeout_s:g} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return failure, _end(output)


def _end(output: IO[bytes]) -> tuple[str, ...]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _KEPT_BYTES))
    return tuple(output.read().decode(errors="replace").splitlines()[-_KEPT_LINES:])
