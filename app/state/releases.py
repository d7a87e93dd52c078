"""The records of what was started, one file each in a folder beside the state file.

They hold environments, so nobody but their owner can read them. A record is written once, whole and flushed, before
the process that it is about is started; the state file and the history name it by its id.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from app.command_line import PROGRAM
from app.operator_errors import StateError
from app.state.release import Release, decode_release, encode_release
from app.state.store import make_folder, mending, replace_file

__all__ = ["Releases"]

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_KEY: Final = "digest.key"
_KEPT: Final = 50
"""Records beyond these are dropped, the oldest first, unless a version is or was last started with them."""


class Releases:
    """The records in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def next_id(self) -> str:
        """The id of a record that is to be made; only for who holds the deployment's lock."""
        return f"{max(self._numbers(), default=0) + 1}-{os.urandom(3).hex()}"

    def read(self, id_: str) -> Release:
        """The record of that id; raises `StateError` when there is none that can be used."""
        path = self._path(id_)
        try:
            return decode_release(path.read_bytes())
        except FileNotFoundError as error:
            raise StateError(
                f"the record {path} of what was started is gone", f"{PROGRAM} deploy --release=NAME"
            ) from error
        except OSError as error:
            raise StateError(f"the record {path} cannot be read: {error.strerror}", mending(error, path)) from error
        except StateError as error:
            raise StateError(f"the record {path} is not usable: {error}", f"{PROGRAM} deploy --release=NAME") from error

    def all(self) -> list[Release]:
        """Every record that can be read, the oldest first."""
        found = list[Release]()
        for id_ in self._ids():
            with contextlib.suppress(StateError):
                found.append(self.read(id_))
        return sorted(found, key=lambda release: release.number)

    def digest(self, release: Release) -> str | None:
        """What tells one environment from another without telling what is in it; None where there is no key for it."""
        try:
            return release.environment_digest((self.folder / _KEY).read_bytes())
        except OSError:
            return None

    def keep(self, release: Release, named: Collection[str | None]) -> None:
        """Write a record, if it is not there yet, and drop old ones but for those `named`; raises `StateError`."""
        path = self._path(release.id)
        if path.exists():
            return
        try:
            make_folder(self.folder.parent)
            self.folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            owner = self.folder.parent.stat()
            if os.geteuid() == 0:  # as for every file beside the state: the usual user must be able to go on
                os.chown(self.folder, owner.st_uid, owner.st_gid)
            if not (self.folder / _KEY).exists():
                replace_file(self.folder / _KEY, os.urandom(32), _FILE_MODE)
            replace_file(path, encode_release(release), _FILE_MODE)
        except OSError as error:
            raise StateError(
                f"the record {path} could not be written: {error.strerror}; nothing was started", mending(error, path)
            ) from error
        self._drop_old({*named, release.id})

    def _drop_old(self, kept: Collection[str | None]) -> None:
        by_age = sorted(self._ids(), key=_number_of)
        for id_ in by_age[:-_KEPT]:
            if id_ not in kept:
                with contextlib.suppress(OSError):
                    self._path(id_).unlink()

    def _path(self, id_: str) -> Path:
        if _number_of(id_) == 0 or os.sep in id_:
            raise StateError(f"{id_!r} is no record of what was started", f"{PROGRAM} deploy --release=NAME")
        return self.folder / f"{id_}.json"

    def _ids(self) -> list[str]:
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")]
        return [id_ for id_ in ids if _number_of(id_)]

    def _numbers(self) -> list[int]:
        return [_number_of(id_) for id_ in self._ids()]


def _number_of(id_: str) -> int:
    """The number that an id begins with; 0 for what is none."""
    number = id_.partition("-")[0]
    return int(number) if number.isdecimal() else 0
