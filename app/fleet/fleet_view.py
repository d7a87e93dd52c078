"""The fleet's store as read at one revision, and a change of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from app.fleet.fleet_store import Expect, StoreSnapshot
from app.fleet.records import (
    DESIRED,
    LOCK,
    NODES,
    PAUSED,
    ROLLOUTS,
    Desired,
    FleetRollout,
    Initiator,
    NodeProgress,
    RecordFault,
    node_key,
    progress_key,
    rollout_key,
)

__all__ = ["Change", "FleetView"]


class Change(NamedTuple):
    """What is to be written if nothing has changed that it was decided on."""

    expects: tuple[Expect, ...]
    puts: Mapping[str, str]
    deletes: tuple[str, ...] = ()


class FleetView:
    """What the store says. A value that cannot be read raises `RecordFault` when it is asked for, and not before."""

    def __init__(self, snapshot: StoreSnapshot) -> None:
        self._entries = snapshot.entries
        self.revision = snapshot.revision

    def revision_of(self, key: str) -> int:
        """That of the last change of a key; 0 where it does not exist."""
        entry = self._entries.get(key)
        return entry.revision if entry is not None else 0

    def unchanged(self, *keys: str) -> tuple[Expect, ...]:
        """That these keys are as they are here."""
        return tuple(Expect(key, self.revision_of(key)) for key in keys)

    def faults(self) -> Iterator[RecordFault]:
        """Every value of the rollouts' part that cannot be read."""
        for key in self._entries:
            try:
                self._check(key)
            except RecordFault as fault:
                yield fault

    @cached_property
    def desired(self) -> Desired | None:
        """What is committed."""
        entry = self._entries.get(DESIRED)
        return Desired.from_json(DESIRED, entry.value) if entry is not None else None

    @cached_property
    def leader(self) -> Initiator | None:
        """Who holds the lock."""
        return self._leader(LOCK)

    @cached_property
    def paused(self) -> Initiator | None:
        """Who has paused the fleet."""
        return self._leader(PAUSED)

    @cached_property
    def rollout_ids(self) -> tuple[str, ...]:
        """Those of all rollouts that are kept, oldest first: an id begins with its time."""
        return tuple(sorted(key.removeprefix(ROLLOUTS) for key in self._entries if key.startswith(ROLLOUTS)))

    def rollout(self, id_: str) -> FleetRollout | None:
        """The rollout of that id."""
        entry = self._entries.get(rollout_key(id_))
        return FleetRollout.from_json(rollout_key(id_), entry.value) if entry is not None else None

    def keys_of(self, id_: str) -> tuple[str, ...]:
        """The keys of what nodes have said of a rollout."""
        return tuple(key for key in self._entries if key.startswith(progress_key(id_, "")))

    @cached_property
    def open(self) -> FleetRollout | None:
        """The rollout that has no end yet; there is one at most."""
        for id_ in reversed(self.rollout_ids):
            rollout = self.rollout(id_)
            if rollout is not None and rollout.phase.is_open:
                return rollout
        return None

    def progress(self, rollout: str, node: str) -> NodeProgress | None:
        """How far a node is with a rollout; None where it has said nothing."""
        key = progress_key(rollout, node)
        entry = self._entries.get(key)
        return NodeProgress.from_json(key, entry.value) if entry is not None else None

    @cached_property
    def nodes(self) -> Mapping[str, int]:
        """The epoch that each registered node has applied, by its name."""
        names = (key.removeprefix(NODES) for key in self._entries if key.startswith(NODES))
        return {name: self._epoch(node_key(name)) for name in sorted(names)}

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Nodes that have had a part in what is committed, and are not registered."""
        begin = progress_key(self.desired.rollout, "") if self.desired is not None else "-"
        known = (key.removeprefix(begin) for key in self._entries if key.startswith(begin))
        return tuple(sorted(node for node in known if node not in self.nodes))

    def keys_about(self, node: str) -> tuple[str, ...]:
        """What is kept of a node, but for its registration."""
        return tuple(key for key in self._entries if _is_about(key, node))

    def _leader(self, key: str) -> Initiator | None:
        entry = self._entries.get(key)
        return Initiator.from_json(key, entry.value) if entry is not None else None

    def _epoch(self, key: str) -> int:
        try:
            epoch = json.loads(self._entries[key].value)["epoch"]
        except (ValueError, KeyError, TypeError):
            epoch = None
        if not isinstance(epoch, int):
            raise RecordFault(key, "has no usable epoch")
        return epoch

    def _check(self, key: str) -> None:
        parts = key.split("/")
        value = self._entries[key].value
        if key == DESIRED:
            Desired.from_json(key, value)
        elif key in (LOCK, PAUSED):
            Initiator.from_json(key, value)
        elif key.startswith(ROLLOUTS):
            FleetRollout.from_json(key, value)
        elif parts[0] == "progress":
            NodeProgress.from_json(key, value)
        elif parts[0] == "nodes":
            self._epoch(key)


def _is_about(key: str, node: str) -> bool:
    kind, _, rest = key.partition("/")
    return (kind == "progress" and rest.endswith(f"/{node}")) or (kind == "drained" and rest == node)
