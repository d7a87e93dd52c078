"""Leads one rollout of the fleet: the operator's command, until it ends or dies.

What is to be done next is `leading`'s; here are the lock's lease, the clocks, and who was heard of. Whatever kills
this leaves a rollout that the agents end, or finish, by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from app.command_line import PROGRAM
from app.fleet.fleet_store import Store, StoreUnreachable
from app.fleet.fleet_view import Change, FleetView
from app.fleet.leading import Asked, Mine, RolloutEnd, Waits, begin, begin_way_back, next_of_leader, take_lock
from app.fleet.records import FleetRollout, Initiator, RolloutPhase, Sample, node_key, rollout_key
from app.fleet.wave_watch import WaveWatch
from app.operator_errors import OperatorError

__all__ = ["Coordinator", "Seen"]


_LEASE_S: Final = 10
_KEEP_S: Final = 3.0
_LOST_S: Final = 15.0
"""As long as a node's lease."""

_PHASE_S: Final = {RolloutPhase.PREPARE: 900.0, RolloutPhase.COMMIT: 180.0}
"""Nodes have limits of their own, which tell more; this is for one that hangs."""

_COMMIT_BEFORE_S: Final = 0.8
"""So long before the first hold can end the commit must have been decided."""

_GATHER_S: Final = 0.03
"""Words of many nodes come at once, and each look reads all of them."""

_MOST_KEPT: Final = 50
"""Rollouts."""


class Seen(NamedTuple):
    """What stands in the store when something has changed, and what is waited for."""

    fleet: FleetView
    rollout: FleetRollout
    waits: Waits | None


class Coordinator:
    """`tell` gets what has changed; `new_id` names a rollout, so that later ones sort behind it."""

    def __init__(
        self,
        store: Store,
        leader: Initiator,
        tell: Callable[[Seen], None],
        new_id: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        poll_s: float = 1.0,
    ) -> None:
        self._store, self._leader, self._tell, self._new_id = store, leader, tell, new_id
        self._clock, self._poll_s = clock, poll_s
        self._lease, self._kept_at = 0, 0.0
        self._heard: dict[str, tuple[int, float]] = {}
        self._before: dict[str, Sample] = {}
        self._watch: WaveWatch | None = None
        self._step: tuple[RolloutPhase, int, float] | None = None
        self._switched_at: float | None = None
        self._revision = 0

    def deploy(self, asked: Asked) -> tuple[FleetRollout, RolloutEnd]:
        """Prepare, commit, wave by wave; gives the rollout that stands in the end and how it ended."""
        return self._led(lambda fleet, lock: begin(fleet, lock, asked, self._new_id(), self._leader))

    def roll_back(self) -> tuple[FleetRollout, RolloutEnd]:
        """Commit the release before."""
        return self._led(lambda fleet, lock: begin_way_back(fleet, lock, self._new_id(), self._leader))

    def resume(self) -> tuple[FleetRollout, RolloutEnd]:
        """Lead on what has lost its coordinator."""
        return self._led(lambda fleet, _lock: (_open(fleet), None))

    # --- the lock -------------------------------------------------------------------------------------------

    def _led(
        self, start: Callable[[FleetView, int], tuple[FleetRollout, Change | None]]
    ) -> tuple[FleetRollout, RolloutEnd]:
        fleet = FleetView(self._store.read(""))
        for fault in fleet.faults():
            raise fault
        change = take_lock(fleet, self._leader)
        self._lease = self._store.grant(_LEASE_S)
        self._kept_at = self._clock()
        try:
            lock = self._store.change(*change, lease=self._lease)
            if lock is None:
                raise OperatorError("another command has just begun to lead the fleet", _shown())
            fleet = FleetView(self._store.read(""))
            rollout, first = start(fleet, lock)
            if first is not None and self._store.change(*_trimmed(fleet, first)) is None:
                raise OperatorError("the fleet has changed meanwhile", _shown())
            return self._lead(rollout.id, lock)
        finally:
            self._give_up_lock()

    def _give_up_lock(self) -> None:
        """So that the next command need not wait for the lease to end."""
        try:
            self._store.revoke(self._lease)
        except OperatorError:
            return  # it ends by itself

    def _keep_lock(self) -> None:
        if self._clock() >= self._kept_at + _KEEP_S:
            self._store.keep(self._lease)
            self._kept_at = self._clock()

    # --- one rollout ----------------------------------------------------------------------------------------

    def _lead(self, id_: str, lock: int) -> tuple[FleetRollout, RolloutEnd]:
        shown = 0
        while True:
            try:
                self._keep_lock()
                fleet = FleetView(self._store.read(""))
                rollout = fleet.rollout(id_)
                step = next_of_leader(fleet, self._mine(fleet, rollout, id_, lock))
                if rollout is not None and fleet.revision != shown:
                    shown = fleet.revision
                    self._tell(Seen(fleet, rollout, step if isinstance(step, Waits) else None))
                self._revision = max(self._revision, fleet.revision)
                if isinstance(step, RolloutEnd):
                    back = fleet.rollout(f"{id_}-back")
                    if back is None or not back.phase.is_open or rollout is None:
                        return _ended(fleet, id_, back or rollout, step)
                    id_, shown = back.id, 0
                elif isinstance(step, Waits):
                    self._store.wait("", fleet.revision, self._waits_s(rollout))
                    time.sleep(_GATHER_S)
                else:
                    self._store.change(*step)
            except StoreUnreachable:
                time.sleep(self._poll_s)  # the lock has an end, and whoever leads by then will be seen

    def _waits_s(self, rollout: FleetRollout | None) -> float:
        return 0.05 if rollout is not None and rollout.phase is RolloutPhase.HOLD else self._poll_s

    def _mine(self, fleet: FleetView, rollout: FleetRollout | None, id_: str, lock: int) -> Mine:
        now = self._clock()
        lost = self._lost(fleet, rollout, now)
        if rollout is None:
            return Mine(id_, lock, self._revision, lost)
        if self._step is None or self._step[:2] != (rollout.phase, rollout.wave):
            self._step = (rollout.phase, rollout.wave, now)
            self._switched_at, self._watch = None, WaveWatch(self._before)
        if rollout.phase is not RolloutPhase.COMMIT:
            said = {node: fleet.progress(rollout.id, node) for node in rollout.nodes}
            self._before.update({node: it.sample for node, it in said.items() if it is not None and it.sample})
        limit = _PHASE_S.get(rollout.phase, rollout.hold_s - _COMMIT_BEFORE_S)
        watched = self._watched(fleet, rollout, now) if rollout.watch_s else ""
        is_over = now >= self._step[2] + limit + rollout.watch_s
        return Mine(id_, lock, self._revision, lost, is_over, watched)

    def _watched(self, fleet: FleetView, rollout: FleetRollout, now: float) -> str | None:
        """What the watch says; it begins when all of the wave have switched."""
        if rollout.phase is not RolloutPhase.COMMIT or self._watch is None:
            return None
        said = [fleet.progress(rollout.id, node) for node in rollout.may_switch]
        if self._switched_at is None:
            if any(it is None or it.sample is None for it in said):
                return None
            self._switched_at = now
        is_last = now >= self._switched_at + rollout.watch_s
        found = self._watch.look(fleet, rollout, is_last=is_last)
        return found or ("" if is_last else None)

    def _lost(self, fleet: FleetView, rollout: FleetRollout | None, now: float) -> frozenset[str]:
        """Nodes that take part and have not beaten for so long; a lease alone may outlive its node."""
        for node in fleet.nodes:
            revision = fleet.revision_of(node_key(node))
            if self._heard.get(node, (0, 0.0))[0] != revision:
                self._heard[node] = (revision, now)
        nodes = rollout.nodes if rollout is not None else ()
        return frozenset(it for it in nodes if it not in fleet.nodes or now > self._heard[it][1] + _LOST_S)


def _shown() -> str:
    return f"{PROGRAM} fleet status"


def _open(fleet: FleetView) -> FleetRollout:
    if fleet.open is None:
        raise OperatorError("there is no rollout to go on with", _shown())
    return fleet.open


def _ended(
    fleet: FleetView, id_: str, rollout: FleetRollout | None, ended: RolloutEnd
) -> tuple[FleetRollout, RolloutEnd]:
    if rollout is None:
        raise OperatorError(f"rollout {id_} came to no end: {ended.note}", _shown())
    # A way back that came to its end is still not what was asked for.
    is_back = rollout.id != id_ or rollout.id.endswith("-back")
    return rollout, RolloutEnd(ended.is_done and not is_back, rollout.note or ended.note)


def _trimmed(fleet: FleetView, change: Change) -> Change:
    """The change; the oldest rollouts go, and of all but the last what each node has said of them."""
    ids = fleet.rollout_ids
    old = tuple(key for id_ in ids[: max(0, len(ids) + 1 - _MOST_KEPT)] if (key := rollout_key(id_)) not in change.puts)
    said = tuple(key for id_ in ids[:-_MOST_SAID] for key in fleet.keys_of(id_))
    return change._replace(deletes=(*old, *said)[:_MOST_DELETED])


_MOST_SAID: Final = 2
"""Rollouts with the words of their nodes: each agent reads all that there is."""

_MOST_DELETED: Final = 110
"""A transaction has room for 128 operations; what is left goes with the next one."""
