"""What a node's agent must know after a crash, in a file beside the state file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from app.operator_errors import StateError
from app.state.store import replace_file

__all__ = ["MEMORY_NAME", "NodeMemory", "keep_memory", "read_memory"]

MEMORY_NAME: Final = "fleet_node.json"
"""Beside the state file."""

_MOST_RELEASES: Final = 20


class NodeMemory(NamedTuple):
    """See `app.fleet.following.Own` for the first ones.

    `releases` has, for the rollout that brought a release, the id of this node's record of how it was started.
    """

    accepted: int = 0
    accepted_rollout: str = ""
    applied: int = 0
    drained: int = 0
    prepared: str = ""
    releases: Mapping[str, str] = {}

    def with_release(self, origin: str, record: str | None) -> NodeMemory:
        """Also knows how the release of that rollout was started here."""
        if record is None:
            return self
        others = {known: it for known, it in self.releases.items() if known != origin}
        kept = dict(list(others.items())[-_MOST_RELEASES:])
        return self._replace(releases={**kept, origin: record})


def read_memory(path: Path) -> NodeMemory:
    """What was kept; a new one where there is nothing. Raises `StateError` for a file that is none of ours."""
    try:
        found = json.loads(path.read_bytes())
        memory = NodeMemory(**found)
        numbers = (memory.accepted, memory.applied, memory.drained)
        if not all(isinstance(it, int) for it in numbers) or not isinstance(memory.releases, dict):
            raise TypeError
    except FileNotFoundError:
        return NodeMemory()
    except (OSError, ValueError, TypeError) as error:
        raise StateError(f"{path} cannot be read: what this node has acted by is not known", f"ls -l {path}") from error
    return memory


def keep_memory(path: Path, memory: NodeMemory) -> None:
    """Keep it, flushed to the disk. Raises `StateError`."""
    try:
        replace_file(path, json.dumps(memory._asdict()).encode())
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}", f"ls -ld {path.parent}") from error
