"""A node's place in the fleet: its key under a lease, and a beat, since a lease outlives its node where etcd restarts.

Whoever finds another agent under its name ends: two machines under one name would each be taken for the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from app.fleet.fleet_store import Expect, Store, StoredValue
from app.fleet.records import node_key
from app.fleet.sight import NodeSight, node_of
from app.operator_errors import OperatorError

__all__ = ["LEASE_S", "NameTaken", "Place", "Registration", "drained_key", "node_in"]

LEASE_S: Final = 15
"""So long a node that has died, or is cut off, is still taken for alive."""

_BEAT_S: Final = 5.0


def drained_key(node: str) -> str:
    """What is there while an operator has taken the node out."""
    return f"drained/{node}"


def node_in(stored: StoredValue) -> NodeSight:
    """A node by what it has written; as if nothing were known of it where that cannot be read."""
    try:
        return node_of(json.loads(stored.value))
    except ValueError:
        return NodeSight()


class NameTaken(OperatorError):
    """Another agent has the node's name."""


class Place(NamedTuple):
    """Where an agent runs, by which it is known again after its end: the machine, the folder; and its process."""

    host: str
    folder: str
    pid: int


class Registration:
    """Keeps one node registered; `beat` is called often."""

    def __init__(self, node: str, place: Place, clock: Callable[[], float] = time.monotonic) -> None:
        self._node, self._place, self._clock = node, place, clock
        self._lease, self._revision = 0, 0
        self._next_at = -_BEAT_S
        self._said = NodeSight()

    def beat(self, store: Store, own: NodeSight) -> None:
        """Say how this node is, if it is time, or if that has changed.

        Raises `NameTaken`, and `StoreUnreachable` and `StoreRefused`.
        """
        if self._clock() < self._next_at and own._replace(in_flight=0) == self._said._replace(in_flight=0):
            return
        if not self._lease or not store.keep(self._lease):
            self._lease = store.grant(LEASE_S)
        if not self._write(store, own):
            self._take_place(store)
            if not self._write(store, own):
                raise self._taken(store)
        self._said, self._next_at = own, self._clock() + _BEAT_S

    def leave(self, store: Store) -> None:
        """End the lease, and be gone at once."""
        if self._lease:
            store.revoke(self._lease)
            self._lease = 0

    def _write(self, store: Store, own: NodeSight) -> bool:
        value = {**own._asdict(), **self._place._asdict(), "at": time.time()}
        key = node_key(self._node)
        made = store.change([Expect(key, self._revision)], {key: json.dumps(value)}, lease=self._lease)
        if made is not None:
            self._revision = made
        return made is not None

    def _take_place(self, store: Store) -> None:
        """The key is not as we left it: it is gone, is what an agent of this folder left, or is somebody else's."""
        found = store.read(node_key(self._node)).entries.get(node_key(self._node))
        if found is None:
            self._revision = 0
            if not store.keep(self._lease):
                self._lease = store.grant(LEASE_S)
            return
        theirs = _place_in(found)
        # One of this folder has ended: the lock there lets in one at a time.
        is_ours = theirs == self._place or (not self._revision and theirs == self._place._replace(pid=theirs.pid))
        if not is_ours:
            raise self._taken(store, theirs)
        self._revision = found.revision

    def _taken(self, store: Store, theirs: Place | None = None) -> NameTaken:
        self.leave(store)
        where = f"{theirs.folder} on {theirs.host} (pid {theirs.pid})" if theirs is not None else "somewhere else"
        return NameTaken(
            f"another agent is {self._node} in this fleet: in {where}",
            f'node = "…" in [fleet], another name for this machine; after its end a name is free within {LEASE_S} s',
        )


def _place_in(found: StoredValue) -> Place:
    try:
        fields = json.loads(found.value)
        return Place(str(fields["host"]), str(fields["folder"]), int(fields["pid"]))
    except (ValueError, KeyError, TypeError):
        return Place("an unknown machine", "an unknown folder", 0)
