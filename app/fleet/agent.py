"""The agent of one machine: keeps its place in the fleet, does its duties there, and writes down what it sees.

It goes on whatever becomes of etcd. The router does not know of it: what it serves is in its state file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from app.fleet.fleet_store import Store, StoredValue, StoreRefused, StoreSnapshot, StoreUnreachable
from app.fleet.records import DESIRED, NODES
from app.fleet.registration import Registration, drained_key, node_in
from app.fleet.sight import FleetSight, NodeSight
from app.fleet.sight_file import write_sight
from app.operator_errors import OperatorError

__all__ = ["Agent", "AgentDuty", "OwnSight"]

_LOOK_S: Final = 3.0
"""At least so often all is read anew, whether a watch has told of a change or not."""

_RETRY_S: Final = 1.0
"""After an answer that was none."""


class OwnSight(NamedTuple):
    """How this node is, and what it does not obey, "" for nothing."""

    node: NodeSight
    alarm: str = ""


class AgentDuty(Protocol):
    """Something that an agent does for the fleet."""

    def step(self, store: Store) -> bool:
        """Look, and do or say the next thing, in no time; gives whether there may be more to do at once.

        Raises `OperatorError`; of those, that the store cannot be reached is no fault of the duty.
        """

    def wait(self, store: Store, revision: int, seconds: float) -> None:
        """Until there may be something to do after that revision, or the time is over."""


class Agent:
    """One machine's; `note` gets a line whenever something has changed that an operator should know.

    `own` looks at the deployment here. The first of the duties knows best when there is something to do.
    """

    def __init__(
        self,
        store: Store,
        registration: Registration,
        sight: FleetSight,
        path: Path,
        own: Callable[[], OwnSight],
        note: Callable[[str], None],
        duties: Sequence[AgentDuty] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._registration, self._sight, self._path = store, registration, sight, path
        self._own, self._note, self._duties, self._wall = own, note, duties, wall
        self._faults: dict[str, str] = {}

    def run(self) -> None:
        """Until a signal raises. Raises `NameTaken`, and `StoreRefused` where etcd does not let us in at the start."""
        try:
            with suppress(StoreUnreachable):  # etcd may come later than this machine; a wrong password stays wrong
                self._look()
            while True:
                self.turn()
        finally:
            self._leave()

    def turn(self) -> None:
        """Beat, do the duties, write down what is seen, and wait for the next change."""
        try:
            revision = self._look()
        except (StoreUnreachable, StoreRefused) as fault:
            self._tell("etcd", str(fault))
            self._write(self._sight._replace(own=self._own().node, fault=str(fault)))
            time.sleep(_RETRY_S)
            return
        if not sum(self._does(duty) for duty in self._duties):  # each of them, whatever the others have
            self._wait(revision)

    def _look(self) -> int:
        own = self._own()
        self._registration.beat(self._store, own.node)
        found = self._store.read("")
        self._tell("etcd", "")
        self._tell("alarm", own.alarm)
        self._write(_seen(self._sight, found, own, self._wall()))
        return found.revision

    def _does(self, duty: AgentDuty) -> bool:
        name = type(duty).__name__
        try:
            has_more = duty.step(self._store)
        except (StoreUnreachable, StoreRefused):
            return False  # the next look at the store tells of it
        except OperatorError as fault:
            self._tell(name, str(fault))
            return False
        self._tell(name, "")
        return has_more

    def _wait(self, revision: int) -> None:
        try:
            if self._duties:
                self._duties[0].wait(self._store, revision, _LOOK_S)
            else:
                self._store.wait("", revision, _LOOK_S)
        except (StoreUnreachable, StoreRefused):
            time.sleep(_RETRY_S)

    def _write(self, sight: FleetSight) -> None:
        self._sight = sight._replace(written_at=self._wall())
        try:
            write_sight(self._path, self._sight)
        except OSError as error:
            self._tell("file", f"{self._path} cannot be written: {error.strerror or error}")
        else:
            self._tell("file", "")

    def _tell(self, about: str, fault: str) -> None:
        """A fault once, however long it lasts, and its end."""
        before = self._faults.get(about, "")
        if fault and not before:
            self._note(f"⚠️  {fault}")
        elif before and not fault:
            self._note(f"✅ over: {before}")
        self._faults[about] = fault

    def _leave(self) -> None:
        with suppress(StoreUnreachable, StoreRefused):  # the lease ends by itself
            self._registration.leave(self._store)


def _seen(before: FleetSight, found: StoreSnapshot, own: OwnSight, now: float) -> FleetSight:
    """What the store says now."""
    epoch, release = _committed(found.entries.get(DESIRED))
    nodes = {key.removeprefix(NODES): node_in(it) for key, it in found.entries.items() if key.startswith(NODES)}
    return before._replace(
        heard_at=now,
        fault="",
        own=own.node,
        epoch=epoch,
        release=release,
        is_drained=drained_key(before.node) in found.entries,
        alarm=own.alarm,
        nodes=dict(sorted(nodes.items())),
    )


def _committed(stored: StoredValue | None) -> tuple[int, str]:
    """Epoch and release of what is committed; what cannot be read is the duty's to tell of."""
    try:
        fields = json.loads(stored.value) if stored is not None else {}
        wanted = fields.get("wanted") or {}
        return int(fields.get("epoch", 0)), str(wanted.get("release") or "")
    except (ValueError, TypeError, AttributeError):
        return 0, ""
