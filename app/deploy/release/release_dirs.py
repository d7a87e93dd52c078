"""Which directory belongs to which release, by `[release] dir`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from app.operator_errors import StateError
from app.settings.checks import is_release_name

__all__ = ["ReleaseDirs"]


class ReleaseDirs:
    """The directories of releases, all in one `folder`; `pattern` is the setting, "" where there are none."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        folder, self._last = os.path.split(os.path.abspath(pattern))
        self.folder = Path(os.path.realpath(folder))

    def name_of(self, entry: str) -> str | None:
        """The release whose directory in the folder has that name; None when it is none of a release."""
        before, _, after = self._last.partition("{release}")
        name = entry.removeprefix(before).removesuffix(after)
        is_one = self.pattern and is_release_name(name) and entry == f"{before}{name}{after}"
        return name if is_one else None

    def around(self, path: str | os.PathLike[str]) -> Path | None:
        """The directory of the release that a path, with its links followed, belongs to."""
        try:
            inside = Path(path).relative_to(self.folder)
        except ValueError:
            return None
        return self.folder / inside.parts[0] if inside.parts and self.name_of(inside.parts[0]) else None

    def found(self) -> Mapping[Path, str]:
        """The name of the release in each directory that there is; raises `StateError` where that cannot be seen."""
        return {self.folder / entry: name for entry in self.entries() if (name := self.name_of(entry))}

    def entries(self) -> list[str]:
        """The names of all directories in the folder; what a link stands for is elsewhere."""
        try:
            with os.scandir(self.folder) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"{self.folder} cannot be read: {error.strerror}", f"ls -ld {self.folder}") from error
