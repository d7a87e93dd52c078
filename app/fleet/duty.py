"""A node's part in the fleet's rollouts: reads the store, decides, has it carried out, says how far it is.

A step never waits for a deploy: that goes on in a thread of its own, so that the agent beats meanwhile. One thing is
done at a time. What a node has to say is said at the next step at which the store can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Final, NamedTuple, Protocol

from app.fleet.fleet_store import Store
from app.fleet.fleet_view import FleetView
from app.fleet.following import Act, Alarm, Order, Own, Says, next_of_node
from app.fleet.node_memory import NodeMemory
from app.fleet.records import ROLLOUTS, NodeProgress, RolloutPhase, Sample, Stage, Wanted, progress_key, rollout_key
from app.operator_errors import OperatorError

__all__ = ["Duty", "Hands"]

_LET_GO_S: Final = 0.7
"""Before a hold ends by itself the node takes its word back, and must have heard of that by then."""

_REST_S: Final = 20.0
"""After it could not act by an epoch."""

_LOOK_S: Final = 0.05
"""How often it looks while requests are held, or those of a version are waited for."""

_BEFORE_S: Final = 60.0
"""How the version before did is taken from so long before the switch."""

_SAMPLE_S: Final = 2.0
"""How often it tells how its active version does, while a rollout is watched."""


class Hands(Protocol):
    """What is done on this machine; each raises `OperatorError`, and `evidence` then has what was seen last."""

    @property
    def evidence(self) -> tuple[str, ...]: ...
    def active(self) -> str | None:
        """The record of what is active."""

    def prepare(self, wanted: Wanted) -> str | None:
        """Start this as the standby, if the settings of this node allow that, and gate it; gives its record."""

    def adopt(self, wanted: Wanted, record: str | None, *, is_new: bool) -> str | None:
        """Make this active: the version of that record where there is one, else a new one; gives its record.

        `is_new`: it was prepared for this, and has not been active.
        """

    def take_back(self) -> None:
        """Stop the standby, and remember of it what was before."""

    def hold(self, seconds: float) -> None: ...
    def resume(self) -> None: ...
    def left(self) -> int:
        """How many requests the version before has in flight."""

    def sample(self, seconds: float) -> Sample | None:
        """How the active version did in the last so many seconds."""


class _Said(NamedTuple):
    """What is to be written about a rollout, and whether it ends something that was begun here."""

    rollout: str
    progress: NodeProgress


class Duty:
    """One node's; `keep` puts the memory on the disk, `work` carries out one thing after the other."""

    def __init__(
        self,
        node: str,
        hands: Hands,
        memory: NodeMemory,
        keep: Callable[[NodeMemory], None],
        work: Executor,
        clock: Callable[[], float] = time.monotonic,
        drain_s: float = 30.0,
    ) -> None:
        self.node = node
        self.memory = memory
        self.alarm = ""
        """What the store says that this node does not obey; "" while there is nothing of the kind."""
        self.fault = ""
        """Why the last thing that was to be done here failed; "" when it did not."""
        self._hands, self._keep, self._work, self._clock, self._drain_s = hands, keep, work, clock, drain_s
        self._begun: tuple[Order, Future[None]] | None = None
        self._unsaid: _Said | None = None
        self._held, self._hold_ends = "", 0.0
        self._resting, self._rests_until = 0, 0.0
        self._sampled_at = -_SAMPLE_S
        self._draining_since: tuple[int, float] | None = None

    @property
    def at_work(self) -> Order | None:
        """What is being done here now."""
        return self._begun[0] if self._begun is not None else None

    @property
    def has_diverged(self) -> bool:
        """Whether something else is active here than what was committed: somebody has switched on this machine."""
        origin = self._origin_applied
        known = self.memory.releases.get(origin) if origin is not None else None
        return self._begun is None and known is not None and self._hands.active() != known

    def step(self, store: Store) -> bool:
        """Look, and do or say the next thing; gives whether there may be more to do at once.

        Raises `StoreUnreachable`, `StoreRefused` and `RecordFault`.
        """
        self._finish()
        fleet = FleetView(store.read(""))
        if self._unsaid is not None:
            self._say(store, fleet, self._unsaid)
            return True
        if self._begun is not None:
            return False
        step = next_of_node(fleet, self._own())
        self.alarm = step.text if isinstance(step, Alarm) else ""
        self._note_origin(fleet)
        if isinstance(step, Says):
            store.change(*step.change)
        elif isinstance(step, Order) and step.act is Act.DRAIN:
            return self._look_at_drain(step)
        elif isinstance(step, Order):
            self._begin(store, fleet, step)
        else:
            self._tell_how_it_does(store, fleet)
        return isinstance(step, Says)

    def wait(self, store: Store, revision: int, seconds: float) -> None:
        """Until there is something to do, or the time is over."""
        if self._begun is not None:
            wait([self._begun[1]], seconds)
        elif self._draining_since is not None or self._held:
            time.sleep(min(seconds, _LOOK_S))
        else:
            store.wait(ROLLOUTS, revision, seconds)

    _origin_applied: str | None = None

    def _note_origin(self, fleet: FleetView) -> None:
        desired = fleet.desired
        is_applied = desired is not None and desired.epoch == self.memory.applied
        self._origin_applied = desired.wanted.origin if desired is not None and is_applied else None

    def _own(self) -> Own:
        now = self._clock()
        if now >= self._rests_until:
            self._resting = 0
        memory = self.memory
        return Own(
            self.node,
            memory.accepted,
            memory.accepted_rollout,
            memory.applied,
            memory.drained,
            memory.prepared,
            self._held,
            must_let_go=bool(self._held) and now >= self._hold_ends - _LET_GO_S,
            resting=self._resting,
        )

    def _remember(self, memory: NodeMemory) -> None:
        if memory != self.memory:
            self._keep(memory)
            self.memory = memory

    # --- what is said ---------------------------------------------------------------------------------------

    def _say(self, store: Store, fleet: FleetView, said: _Said) -> None:
        """Write it, where its rollout is kept still; if it has changed meanwhile, at the next step."""
        key, kept = progress_key(said.rollout, self.node), rollout_key(said.rollout)
        if fleet.rollout(said.rollout) is not None:
            if store.change(fleet.unchanged(key, kept), {key: said.progress.to_json()}) is None:
                return
        self._unsaid = None

    def _tell_how_it_does(self, store: Store, fleet: FleetView) -> None:
        """While a rollout is watched, say how the active version does."""
        rollout = fleet.open
        if rollout is None or not rollout.watch_s or rollout.phase is not RolloutPhase.COMMIT:
            return
        said = fleet.progress(rollout.id, self.node)
        now = self._clock()
        if said is None or now < self._sampled_at + _SAMPLE_S:
            return
        self._sampled_at = now
        key = progress_key(rollout.id, self.node)
        progress = said._replace(sample=self._hands.sample(rollout.watch_s))
        store.change(fleet.unchanged(key, rollout_key(rollout.id)), {key: progress.to_json()})

    # --- what is done ---------------------------------------------------------------------------------------

    def _begin(self, store: Store, fleet: FleetView, order: Order) -> None:
        if order.act is Act.PREPARE:
            key = progress_key(order.rollout, self.node)
            preparing = NodeProgress(Stage.PREPARING).to_json()
            if store.change(fleet.unchanged(key, rollout_key(order.rollout)), {key: preparing}) is None:
                return
        if order.act is Act.HOLD:
            self._held, self._hold_ends = order.rollout, self._clock() + order.hold_s
        # Written down before anything is done: this is what a crash must not forget.
        if order.act is Act.PREPARE:
            memory = self.memory
            if not memory.releases:
                memory = memory.with_release("", self._hands.active())
            self._remember(memory._replace(prepared=order.rollout))
        if order.act is Act.ADOPT:
            self._remember(self.memory._replace(accepted=order.epoch, accepted_rollout=order.rollout))
        self._begun = (order, self._work.submit(self._carry_out, order))

    def _carry_out(self, order: Order) -> None:
        """In the worker's thread."""
        hands, known = self._hands, self.memory.releases
        if order.act is Act.PREPARE:
            self._record = hands.prepare(order.wanted)
        elif order.act is Act.ADOPT:
            origin = order.wanted.origin
            self._record = hands.adopt(order.wanted, known.get(origin), is_new=self.memory.prepared == origin)
        elif order.act is Act.HOLD:
            hands.hold(order.hold_s)
        elif order.act is Act.RESUME:
            hands.resume()
        else:
            hands.take_back()

    _record: str | None = None

    def _look_at_drain(self, order: Order) -> bool:
        """Whether the requests of the version before have ended, or have had their time; nobody waits for it here."""
        now = self._clock()
        if self._draining_since is None or self._draining_since[0] != order.epoch:
            self._draining_since = (order.epoch, now)
        left = self._hands.left()
        if left and now < self._draining_since[1] + self._drain_s:
            return False
        self._draining_since = None
        self._remember(self.memory._replace(drained=order.epoch))
        said = f"{left} requests of the version before were in flight still" if left else ""
        self._unsaid = _Said(order.rollout, NodeProgress(Stage.DRAINED, said))
        return True

    def _finish(self) -> None:
        """Note what came of what was begun."""
        if self._begun is None or not self._begun[1].done():
            return
        order, future = self._begun
        self._begun = None
        error = future.exception()
        if error is not None and not isinstance(error, OperatorError | OSError):
            raise error
        self.fault = str(error) if error is not None else ""
        if error is not None:
            self._failed(order, str(error))
        else:
            self._succeeded(order)

    def _failed(self, order: Order, why: str) -> None:
        if order.act is Act.ADOPT:
            self._resting, self._rests_until = order.epoch, self._clock() + _REST_S
        elif order.act is Act.RESUME:
            self._held = ""  # the hold ends by itself
        elif order.act is not Act.HOLD:
            # What was started has been stopped by the deploy code, or will be by the next start in its place.
            self._remember(self.memory._replace(prepared=""))
        if order.act in _STAGES:
            self._unsaid = _Said(order.rollout, NodeProgress(Stage.FAILED, why, self._hands.evidence))

    def _succeeded(self, order: Order) -> None:
        memory = self.memory
        if order.act is Act.PREPARE:
            memory = memory.with_release(order.rollout, self._record)
        elif order.act is Act.ADOPT:
            memory = memory.with_release(order.wanted.origin, self._record)._replace(applied=order.epoch)
        elif order.act is Act.RESUME:
            self._held = ""
        if order.act in (Act.ADOPT, Act.TAKE_BACK) and memory.prepared == order.wanted.origin:
            memory = memory._replace(prepared="")
        self._remember(memory)
        if (stage := _STAGES.get(order.act)) is not None:
            sample = self._hands.sample(_BEFORE_S) if order.act is Act.PREPARE else None
            self._unsaid = _Said(order.rollout, NodeProgress(stage, sample=sample))


_STAGES: Final = {
    Act.PREPARE: Stage.READY,
    Act.HOLD: Stage.HOLDING,
    Act.ADOPT: Stage.SWITCHED,
    Act.TAKE_BACK: Stage.TAKEN_BACK,
}
"""What is said after each."""
