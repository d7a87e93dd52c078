"""What the fleet may have a node run: what the node's own settings lead to, and nothing that only the store names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from app.deploy.deployer import Overrides
from app.deploy.release.release_dirs import ReleaseDirs
from app.fleet.records import Wanted
from app.operator_errors import OperatorError

__all__ = ["Allowed"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
"""Narrower than elsewhere: a name is filled into commands, be they for a shell."""


class Allowed(NamedTuple):
    """The settings of one node: `dirs` are `[fleet] allow_dir`, `release_dir` is `[release] dir`."""

    dirs: Sequence[str] = ()
    command: bool = False
    release_dir: str = ""

    def overrides(self, wanted: Wanted) -> Overrides:
        """What is to be started; raises `OperatorError` for what these settings do not allow."""
        if wanted.release is not None and (not _NAME.fullmatch(wanted.release) or ".." in wanted.release):
            raise OperatorError(f"the fleet wants a release named {wanted.release!r}, which no release may be called")
        if wanted.command is not None and not self.command:
            raise OperatorError(
                "the fleet wants another command than the one that is set here, and that is not allowed",
                "[fleet] allow_command = true, should that be wanted",
            )
        return Overrides(wanted.release, self._dir(wanted.dir), wanted.command)

    def _dir(self, wanted: str | None) -> str | None:
        """The directory itself, with links followed: what is allowed is what it leads to."""
        if wanted is None:
            return None
        real = os.path.realpath(wanted)
        below = [os.path.realpath(allowed) for allowed in self.dirs]
        if self.release_dir:
            below.append(str(ReleaseDirs(self.release_dir).folder))
        if not os.path.isabs(wanted) or not any(_lies_in(real, folder) for folder in below):
            raise OperatorError(
                f"the fleet wants the release in {wanted}, and that is not in a directory which is allowed here",
                "[fleet] allow_dir",
            )
        return real


def _lies_in(path: str, folder: str) -> bool:
    return path != folder and os.path.commonpath((path, folder)) == folder
