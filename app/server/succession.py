"""What a master hands on to the one that is to replace it, and what keeps that one from doing so."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from app.server.pid_file import PidFile
from app.state.watch import LastState

__all__ = ["hand_on", "moved", "take_up"]

_PID_FILE = "ROUTER_PID_FILE"
_LAST_STATE = "ROUTER_LAST_STATE"


def hand_on(environ: MutableMapping[str, str], pid_file: PidFile, last_state: LastState) -> None:
    """Tells the new master, by its environment, the pid file and the last good state."""
    environ[_PID_FILE] = os.path.abspath(pid_file.path)
    environ[_LAST_STATE] = os.fsdecode(last_state.raw)


def take_up(environ: MutableMapping[str, str], pid_file: PidFile, last_state: LastState) -> str:
    """Takes what was handed on, if anything was; returns why the new master cannot replace the old one, or ""."""
    last_state.raw = os.fsencode(environ.pop(_LAST_STATE, ""))
    path = os.path.abspath(pid_file.path)
    held = environ.pop(_PID_FILE, path)
    if held != path:  # by its own file the old one knows the new one's signal to end from anybody else's
        return f"The router's pid file is {held}, and the settings say {path}: that takes a reload first"
    return moved(pid_file.held_address(), pid_file.address)


def moved(held: str, wanted: str) -> str:
    """Why a router that goes on without a gap, with its sockets, cannot take settings up; "" when it can."""
    if held in ("", wanted):
        return ""
    return f"The router listens at {held}, and the settings say {wanted}: that takes a stop and a start"
