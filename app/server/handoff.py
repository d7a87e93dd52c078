"""What a master hands on to the one that is to replace it, and what keeps that one from doing so."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from app.server.pid_file import PidFile
from app.state.last_good import LastGood

__all__ = ["hand_on", "moved", "take_up", "take_up_last_good"]

_PID_FILE = "ROUTER_PID_FILE"
_LAST_GOOD = "ROUTER_LAST_GOOD"


def hand_on(environ: MutableMapping[str, str], pid_file: PidFile, state_file: str, last_good: LastGood) -> None:
    """Tells the new master, by its environment, the pid file and the last good state."""
    environ[_PID_FILE] = os.path.realpath(pid_file.path)
    environ[_LAST_GOOD] = f"{last_good.hand_on()}:{os.path.realpath(state_file)}"


def take_up_last_good(environ: MutableMapping[str, str], state_file: str) -> LastGood:
    """The last good state that was handed on, which the old workers go on sharing; a new one where none was."""
    number, _, path = environ.pop(_LAST_GOOD, "").partition(":")
    handed_on = LastGood.handed_on(number) if os.path.realpath(path) == os.path.realpath(state_file) else None
    return handed_on or LastGood.shared()


def take_up(environ: MutableMapping[str, str], pid_file: PidFile) -> str:
    """Takes the pid file that was handed on, if one was; returns why we cannot replace the old master, or ""."""
    path = os.path.realpath(pid_file.path)  # by a link, another checkout may lead to the same one
    held = os.path.realpath(environ.pop(_PID_FILE, path))
    if held != path:  # by its own file the old one knows the new one's signal to end from anybody else's
        return f"The router's pid file is {held}, and the settings say {path}: that takes a reload first"
    return moved(pid_file.held_address(), pid_file.address)


def moved(held: str, wanted: str) -> str:
    """Why a router that goes on without a gap, with its sockets, cannot take settings up; "" when it can."""
    if held in ("", wanted):
        return ""
    return f"The router listens at {held}, and the settings say {wanted}: that takes a stop and a start"
