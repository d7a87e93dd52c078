"""What a command prints when it fails, one class per way to fail; the class carries the process's exit code."""

from __future__ import annotations

from typing import ClassVar

from app.command_line import PROGRAM


class OperatorError(Exception):
    """A command that could not do what it was asked to; its text is for the person at the terminal.

    `hint` is the command or the edit that mends it, printed on a line of its own.
    """

    exit_code: ClassVar[int] = 1
    sign: ClassVar[str] = "❌"
    """What it begins with where it is printed."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(OperatorError):
    """The settings are not usable; the message lists every fault."""

    exit_code = 2


class UsageError(OperatorError):
    """The command line is not usable."""

    exit_code = 2


class UnhealthyVersion(OperatorError):
    """A version failed its health gate; traffic stays where it was."""

    exit_code = 3


class DrainTimedOut(OperatorError):
    """The old version still had requests in flight at the deadline."""

    exit_code = 4


class Doubtful(OperatorError):
    """All was done, and the new version seems to do worse than the one before it; that is not proven."""

    exit_code = 5
    sign = "⚠️ "


class SwitchStands(OperatorError):
    """A version that was just made active has failed, and the traffic still goes to it."""


class TrafficTaken(OperatorError):
    """Another command has moved the traffic away from the version that this one made active.

    Args:
        version: the one that this command made active.
        active: the one that is active now; None when none is.
        taker: the command that did it, as far as it is known.
    """

    def __init__(self, version: str, active: str | None, taker: str = "another command") -> None:
        now = f"gave the traffic to {active}" if active else "took the traffic from it"
        super().__init__(f"{version} was made active, and {taker} {now} meanwhile", f"{PROGRAM} history")
        self.version = version
        self.active = active


class LockBusy(OperatorError):
    """Another command holds the deployment's lock."""


class StateError(OperatorError):
    """The state file cannot be read as one: torn, empty, foreign or unreadable."""


class StateMissing(StateError):
    """There is no state file."""


class ProcessError(OperatorError):
    """A version's process could not be started, found or stopped."""


class MetricsError(OperatorError):
    """The shared metrics file is missing or not one of ours."""
