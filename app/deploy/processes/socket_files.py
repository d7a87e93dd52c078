"""The files of the Unix sockets on which versions listen: their folder, what is left of old ones, who may connect."""

from __future__ import annotations

import os
import stat

__all__ = ["is_something_else", "keep_private", "make_way"]

_FOLDER_MODE = 0o700
_MODE = 0o660
"""A router that runs under another user of the owner's group needs no more."""


def is_something_else(path: str) -> bool:
    """Whether there is something at a socket's path that is none, and that nobody may remove for it."""
    return os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode)


def make_way(path: str) -> None:
    """Make the folder of a socket, and remove one that is left of a process which has ended; raises `OSError`."""
    folder = os.path.dirname(path)
    os.makedirs(folder, _FOLDER_MODE, exist_ok=True)
    os.chmod(folder, _FOLDER_MODE)
    _give_to_owner_of(os.path.dirname(folder), folder)
    if is_something_else(path):
        raise FileExistsError(0, "it is there, and no socket")
    if os.path.lexists(path):
        os.unlink(path)


def keep_private(path: str) -> None:
    """Let nobody but owner and group connect: servers make their sockets for everybody. Raises nothing."""
    try:
        os.chmod(path, os.stat(path).st_mode & _MODE)
        _give_to_owner_of(os.path.dirname(path), path)
    except OSError:
        pass  # the folder is private, too


def _give_to_owner_of(folder: str, path: str) -> None:
    """A command that was run with sudo must leave nothing which the usual user's router cannot open."""
    if os.geteuid() == 0:
        owner = os.stat(folder)
        os.chown(path, owner.st_uid, owner.st_gid)
