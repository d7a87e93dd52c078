"""A fleet without machines: the real rules and the real duty of each node, over a store in memory, event by event.

Each event is a method, so that a test can put them in any order. After each, `check` says what must never be so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

from app.fleet.duty import Duty
from app.fleet.fleet_store import StoreUnreachable
from app.fleet.fleet_view import Change, FleetView
from app.fleet.leading import Asked, Mine, RolloutEnd, Waits, begin, begin_way_back, next_of_leader, take_lock
from app.fleet.node_memory import NodeMemory
from app.fleet.records import Initiator, RolloutPhase, Sample, Stage, Wanted
from app.operator_errors import OperatorError
from tests.fleet.model_store import Client, ModelStore

__all__ = ["Simulation"]

HOLD_S = 2.0
_TICK_S = 0.25


class _Later(Executor):
    """Work that is done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self) -> None:
        while self.waiting:
            future, work = self.waiting.pop(0)
            try:
                future.set_result(work())
            except OperatorError as error:
                future.set_exception(error)


class Machine:
    """What runs on one machine, and the hands that change it: outlives the agent."""

    evidence = ("a line of its log",)

    def __init__(self, name: str, sim: Simulation) -> None:
        self.name, self._sim = name, sim
        self.active_record = f"{name}:old"
        self.standby_record: str | None = None
        self.before: str | None = None
        self.hold_ends = -1.0
        self.fails = False
        self.memory = NodeMemory()
        self.acted: list[tuple[int, str]] = []
        self.was_disturbed = False
        """Its agent was away or cut off, or its release could not be switched to, in the hold of the rollout of now."""

    @property
    def serves(self) -> str | None:
        """The record of the release that a request gets now; None while requests wait."""
        return None if self._sim.server.now < self.hold_ends else self.active_record

    def active(self) -> str | None:
        return self.active_record

    def prepare(self, wanted: Wanted) -> str | None:
        if self.fails:
            raise OperatorError("it is not healthy")
        self.before, self.standby_record = self.standby_record, f"{self.name}:{wanted.origin}"
        return self.standby_record

    def adopt(self, wanted: Wanted, record: str | None, *, is_new: bool) -> str | None:
        self.acted.append((self.memory.accepted, self.memory.accepted_rollout))
        record = record or f"{self.name}:{wanted.origin}"
        if record != self.active_record:
            if self.fails:
                raise OperatorError("it cannot be switched to")
            self.active_record, self.standby_record = record, self.active_record
        return record

    def take_back(self) -> None:
        self.standby_record = self.before

    def hold(self, seconds: float) -> None:
        self.hold_ends = self._sim.server.now + seconds

    def resume(self) -> None:
        self.hold_ends = -1.0

    def left(self) -> int:
        return 0

    def sample(self, seconds: float) -> Sample | None:
        return Sample(seconds, 10, 0, 1.0)


class Node:
    """A machine and its agent."""

    def __init__(self, name: str, sim: Simulation) -> None:
        self.name, self._sim = name, sim
        self.machine = Machine(name, sim)
        self.client = Client(sim.server)
        self.duty: Duty | None = None
        self.work = _Later()
        self._lease = 0
        self.start()

    def _keep(self, memory: NodeMemory) -> None:
        self.machine.memory = memory

    def start(self) -> None:
        """Start the agent, if it does not run."""
        if self.duty is None:
            self.work = _Later()
            now = lambda: self._sim.server.now  # noqa: E731  the server's clock goes on with everybody's
            self.duty = Duty(self.name, self.machine, self.machine.memory, self._keep, self.work, now)
            self.beat()

    def crash(self) -> None:
        """kill -9 of the agent; what it had begun is not done."""
        self.duty = None
        self.work = _Later()

    def beat(self) -> None:
        """Say that it is there."""
        if self.duty is None:
            return
        with suppress(StoreUnreachable):
            if not self._lease or not self.client.keep(self._lease):
                self._lease = self.client.grant(15)
            value = json.dumps({"epoch": self.machine.memory.applied})
            self.client.change((), {f"nodes/{self.name}": value}, lease=self._lease)

    def step(self) -> None:
        if self.duty is not None:
            with suppress(StoreUnreachable):
                self.duty.step(self.client)

    def do(self) -> None:
        """What it has begun is done."""
        self.work.run()


class Leading:
    """A coordinator whose reading, deciding and writing are events of their own."""

    def __init__(self, name: str, sim: Simulation) -> None:
        self.name, self._sim = name, sim
        self.client = Client(sim.server)
        self.lease, self.lock, self.rollout, self.seen = 0, 0, "", 0
        self.decided: Change | None = None

    def begin(self, asked: Asked | None) -> None:
        """A deploy, or a way back for None."""
        if self.rollout:
            return
        with suppress(OperatorError):
            leader = Initiator(self.name, self._sim.server.now)
            change = take_lock(FleetView(self.client.read("")), leader)
            lease = self.client.grant(10)
            lock = self.client.change(*change, lease=lease)
            if lock is None:
                return
            self.lease, self.lock = lease, lock
            try:
                fleet = FleetView(self.client.read(""))
                id_ = self._sim.new_id()
                made = (
                    begin_way_back(fleet, lock, id_, leader)
                    if asked is None
                    else begin(fleet, lock, asked, id_, leader)
                )
                if self.client.change(*made[1]) is not None:
                    self.rollout, self.seen = made[0].id, 0
            finally:
                if not self.rollout:
                    self.stop()

    def resume(self) -> None:
        """Take over what nobody leads."""
        if self.rollout:
            return
        with suppress(OperatorError):
            fleet = FleetView(self.client.read(""))
            if fleet.open is None:
                return
            change = take_lock(fleet, Initiator(self.name, self._sim.server.now))
            lease = self.client.grant(10)
            lock = self.client.change(*change, lease=lease)
            if lock is not None:
                self.lease, self.lock, self.rollout, self.seen = lease, lock, fleet.open.id, 0

    def read(self, *, is_over: bool, watched: str | None) -> None:
        """Look, and decide."""
        if not self.rollout:
            return
        with suppress(StoreUnreachable):
            fleet = FleetView(self.client.read(""))
            rollout = fleet.rollout(self.rollout)
            nodes = rollout.nodes if rollout is not None else ()
            lost = frozenset(it for it in nodes if it not in fleet.nodes)
            step = next_of_leader(fleet, Mine(self.rollout, self.lock, self.seen, lost, is_over, watched))
            self.seen = max(self.seen, fleet.revision)
            if isinstance(step, RolloutEnd):
                back = fleet.rollout(f"{self.rollout}-back")
                if back is not None and back.phase.is_open and fleet.revision >= self.seen:
                    self.rollout = back.id
                else:
                    self.stop()
            elif not isinstance(step, Waits):
                self.decided = step

    def write(self) -> None:
        """What was decided reaches the store, be it late."""
        decided, self.decided = self.decided, None
        if decided is not None:
            with suppress(StoreUnreachable):
                self.client.change(*decided)

    def stop(self) -> None:
        """End well."""
        with suppress(StoreUnreachable):
            self.client.revoke(self.lease)
        self.crash()

    def crash(self) -> None:
        self.lease, self.lock, self.rollout, self.decided = 0, 0, "", None


class Simulation:
    """Nodes, coordinators and their store."""

    def __init__(self, nodes: int = 3, coordinators: int = 2) -> None:
        self.server = ModelStore()
        self._ids = 0
        self.nodes = [Node(f"n{number}", self) for number in range(nodes)]
        self.leaders = [Leading(f"c{number}", self) for number in range(coordinators)]
        self.server.back_up()
        self._committed = ""
        self._restored_at_id = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"r{self._ids:04}"

    def advance(self, seconds: float) -> None:
        """Time goes by; who is there beats, keeps its lease, and takes its word back before its hold ends."""
        while seconds > 0:
            self.server.advance(_TICK_S)
            seconds -= _TICK_S
            for node in self.nodes:
                node.beat()
                if node.duty is not None and node.machine.hold_ends >= 0:
                    for _ in range(4):
                        node.do()
                        node.step()
            for leader in self.leaders:
                if leader.lease:
                    with suppress(StoreUnreachable):
                        leader.client.keep(leader.lease)

    def all_go_on(self) -> None:
        """Every node takes some steps, one after the other."""
        for _ in range(3):
            for node in self.nodes:
                node.step()
                self.check()
                node.do()
                self.check()

    def restore(self) -> None:
        """An older copy of the store; connections end with the old one, and what was on its way is lost."""
        self.server.restore()
        self._restored_at_id = self._ids
        for leader in self.leaders:
            leader.decided = None

    # --- what must always be so -----------------------------------------------------------------------------

    def check(self) -> None:
        fleet = FleetView(Client(self.server).read(""))
        for node in self.nodes:
            if node.duty is None or node.client.is_cut or node.machine.fails:
                node.machine.was_disturbed = True
        self._check_commit(fleet)
        self._check_epochs()
        self._check_together(fleet)

    def _check_commit(self, fleet: FleetView) -> None:
        """No commit that not all of its nodes were ready for."""
        desired = fleet.desired
        if desired is None or desired.rollout == self._committed:
            return
        self._committed = desired.rollout
        rollout = fleet.rollout(desired.rollout)
        if rollout is None or rollout.is_way_back or int(rollout.id[1:5]) <= self._restored_at_id:
            return
        for name in rollout.nodes:
            machine = next(it.machine for it in self.nodes if it.name == name)
            assert f"{name}:{rollout.id}" in (machine.standby_record, machine.active_record), f"{name} was not ready"

    def _check_epochs(self) -> None:
        """No node acts by an epoch older than one that it has acted by, nor by two of one number."""
        for node in self.nodes:
            acted = node.machine.acted
            assert acted == sorted(acted, key=lambda it: it[0]), f"{node.name} obeyed an older epoch: {acted}"
            assert len(dict(acted)) == len(set(acted)), f"{node.name} obeyed two of one epoch: {acted}"

    def _check_together(self, fleet: FleetView) -> None:
        """Where a hold is asked for, nobody serves the old release after the new one."""
        desired = fleet.desired
        rollout = fleet.rollout(desired.rollout) if desired is not None else fleet.open
        if fleet.open is not None:
            rollout = fleet.open
        if rollout is None or not rollout.hold_s:
            return
        if rollout.phase is RolloutPhase.PREPARE:
            for node in self.nodes:
                node.machine.was_disturbed = False
            return
        if rollout.phase is not RolloutPhase.COMMIT or int(rollout.id[1:5]) <= self._restored_at_id:
            return
        serving = {it.name: it.machine.serves for it in self.nodes if not it.machine.was_disturbed}
        new = {name for name, record in serving.items() if record == f"{name}:{rollout.id}"}
        old = {name for name, record in serving.items() if record is not None and name not in new}
        assert not (new and old and set(old) & set(rollout.nodes)), f"{new} serve the new release, {old} the old one"

    def settle(self) -> None:
        """All is well again, and there is time: every node must end on what is committed, or say why not."""
        for node in self.nodes:
            node.client.is_cut, node.machine.fails = False, False
            node.start()
        for leader in self.leaders:
            leader.client.is_cut = False
            leader.stop()
        for _ in range(15):
            self.advance(2.0)
            self.all_go_on()
        fleet = FleetView(Client(self.server).read(""))
        if fleet.open is not None:
            assert fleet.open.phase is RolloutPhase.COMMIT
            if fleet.open.wave >= len(fleet.open.waves):
                said = {it: fleet.progress(fleet.open.id, it) for it in fleet.open.nodes}
                assert any(it is None or it.stage is not Stage.DRAINED for it in said.values()), said
        for node in self.nodes:
            self._check_settled(fleet, node)

    def _check_settled(self, fleet: FleetView, node: Node) -> None:
        duty, machine, desired = node.duty, node.machine, fleet.desired
        assert duty is not None
        assert machine.serves is not None, f"{node.name} holds its requests for ever"
        if duty.alarm:
            return
        rollout = fleet.rollout(desired.rollout) if desired is not None else None
        if rollout is not None and rollout.phase is RolloutPhase.COMMIT and node.name not in rollout.may_switch:
            return
        wanted = f"{node.name}:{desired.wanted.origin or 'old'}" if desired is not None else f"{node.name}:old"
        assert machine.active_record == wanted, f"{node.name} serves {machine.active_record}, committed is {wanted}"
        assert not duty.memory.prepared, f"{node.name} has not taken back {duty.memory.prepared}"
