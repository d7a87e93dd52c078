"""How the two programs are to be typed, so that a printed command acts on the deployment that it was printed for.

A process acts for one deployment. Who starts it says from where a command will be typed (`typed_from`): by somebody in
the folder of the project, as everything in the documentation is, as he has just typed one, or by anybody anywhere.
"""

from __future__ import annotations

import shlex
from typing import Final, NamedTuple

__all__ = ["PROGRAM", "ROUTER_PROGRAM", "CommandLine", "Whence", "typed_from"]


class Whence(NamedTuple):
    """What a command must say to be the right one.

    `folder` is the one with the programs, "" when the shell finds them by their names, None when whoever types is in
    the folder of the project. `variables` is a list of (name, value) of the environment. `user` is whose deployment it
    is, "" where that needs no word.
    """

    folder: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    user: str = ""


_whence = Whence()


def typed_from(whence: Whence) -> None:
    """Says so for this process; once, where it starts."""
    global _whence
    _whence = whence


class CommandLine:
    """One program, written into a text as it has to be typed: `f"{PROGRAM} status"`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        if _whence.folder is None:
            return f"python3 bin/{self._name}"
        words = [f"{name}={shlex.quote(value)}" for name, value in _whence.variables]
        if _whence.user:
            words = ["sudo", "-u", shlex.quote(_whence.user), *(["env", *words] if words else [])]
        return " ".join([*words, shlex.quote("/".join(filter(None, [_whence.folder, self._name])))])


PROGRAM: Final = CommandLine("blue_green_deploy")
ROUTER_PROGRAM: Final = CommandLine("traffic_router")
