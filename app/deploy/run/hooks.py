"""The configured commands around a switch: before a start, before the switch and after it, and before a way back."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

from app.deploy.deployment import Deployment
from app.deploy.events import Ran, Running
from app.deploy.processes.launch import Launch, check_of
from app.deploy.processes.reconcile import ending_text
from app.deploy.release.remaking import for_checks
from app.operator_errors import OperatorError
from app.state.model import VersionState
from app.state.release import Release

__all__ = ["check_commands", "revert", "run_commands"]

_KEPT_LINES: Final = 20
_KEPT_BYTES: Final = 65_536


def check_commands(deployment: Deployment, version: VersionState, release: Release | None) -> None:
    """Raise `ConfigError` for a command that could not be run; better now than after the switch, or in an emergency.

    `release` is what a deploy starts the version with; without it, what it runs counts, and there is nothing before.
    """
    place = release or for_checks(deployment, version)
    deploy = deployment.deploy
    commands = {"smoke": deploy.smoke, "post": deploy.post}
    if release is not None:
        commands |= {"before": deploy.before, "rollback": deploy.rollback}
    for name, texts in commands.items():
        for text in texts:
            check_of(text, f"[deploy] {name}", place, version, deployment.app.address, is_shell=deploy.shell)


def run_commands(
    deployment: Deployment,
    commands: Sequence[str],
    version: VersionState,
    timeout_s: float | None = None,
    variables: Mapping[str, str] = {},  # never changed
) -> str:
    """Run commands for a version one after the other; gives what the first that failed did, or "".

    `variables` are added to the version's environment. `timeout_s` is for each of them.
    """
    release = for_checks(deployment, version)
    timeout_s = deployment.deploy.command_timeout if timeout_s is None else timeout_s
    for command in commands:
        launch = check_of(
            command, "[deploy]", release, version, deployment.app.address, is_shell=deployment.deploy.shell
        )
        launch = launch._replace(environment={**launch.environment, **variables})
        deployment.report(Running(launch.command, timeout_s))
        began = deployment.clock()
        failure, output = _run(launch, timeout_s)
        deployment.report(Ran(launch.command, deployment.clock() - began, failure, output))
        if failure:
            return f"`{launch.command}`: {failure}"
    return ""


def revert(deployment: Deployment, left: VersionState, returned: VersionState) -> str:
    """Run the rollback commands in the release that is left; gives what the first that failed did, or ""."""
    names = {"BG_ROLLBACK_FROM": left.release or "", "BG_ROLLBACK_TO": returned.release or ""}
    try:
        return run_commands(deployment, deployment.deploy.rollback, left, variables=names)
    except OperatorError as error:  # its directory or its record is gone
        return str(error)


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
