"""No order of events makes the fleet commit what not all are ready for, or a node obey what is older."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.fleet.leading import Asked
from app.fleet.records import Wanted
from tests.fleet.simulation import HOLD_S, Simulation

_EXAMPLES = int(os.environ.get("FLEET_INTERLEAVINGS", "30"))
"""`make fleet-model` takes 10,000."""

_NODES = st.integers(0, 2)
_LEADERS = st.integers(0, 1)
_HOW = st.sampled_from(
    [
        Asked(Wanted("")),
        Asked(Wanted(""), hold_s=HOLD_S),
        Asked(Wanted(""), hold_s=HOLD_S),
        Asked(Wanted(""), waves="1,100%", watch_s=1.0),
        Asked(Wanted(""), min_nodes=2),
    ]
)


class FleetMachine(RuleBasedStateMachine):
    """Two coordinators, three nodes, one store; every rule is something that can happen at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.sim = Simulation()

    @rule(who=_LEADERS, how=_HOW)
    def deploy(self, who: int, how: Asked) -> None:
        self.sim.leaders[who].begin(how)

    @rule(who=_LEADERS)
    def roll_back(self, who: int) -> None:
        self.sim.leaders[who].begin(None)

    @rule(who=_LEADERS)
    def resume(self, who: int) -> None:
        self.sim.leaders[who].resume()

    @rule(who=_LEADERS, over=st.booleans(), watched=st.sampled_from([None, "", "", "worse"]))
    def coordinator_decides(self, who: int, over: bool, watched: str | None) -> None:
        self.sim.leaders[who].read(is_over=over and watched is None, watched=watched)

    @rule(who=_LEADERS)
    def coordinator_writes(self, who: int) -> None:
        self.sim.leaders[who].write()

    @rule(who=_LEADERS)
    def coordinator_goes_on(self, who: int) -> None:
        self.sim.leaders[who].read(is_over=False, watched="")
        self.sim.leaders[who].write()

    @rule(who=_LEADERS)
    def coordinator_is_killed(self, who: int) -> None:
        self.sim.leaders[who].crash()

    @rule(who=_NODES)
    def node_steps(self, who: int) -> None:
        self.sim.nodes[who].step()

    @rule(who=_NODES, leader=_LEADERS)
    def node_steps_while_the_coordinator_writes(self, who: int, leader: int) -> None:
        node = self.sim.nodes[who]
        node.client.meanwhile = self.sim.leaders[leader].write
        node.step()
        node.client.meanwhile = None

    @rule(who=_NODES)
    def node_does(self, who: int) -> None:
        self.sim.nodes[who].do()

    @rule()
    def all_nodes_go_on(self) -> None:
        self.sim.all_go_on()

    @rule(who=_LEADERS)
    def all_hold(self, who: int) -> None:
        """As far as it gets: nobody may be there, or another may lead."""
        leader = self.sim.leaders[who]
        leader.begin(Asked(Wanted(""), hold_s=HOLD_S))
        self.sim.all_go_on()
        leader.read(is_over=False, watched=None)
        leader.write()
        self.sim.all_go_on()
        leader.read(is_over=False, watched=None)

    @rule(who=_NODES)
    def agent_is_killed(self, who: int) -> None:
        self.sim.nodes[who].crash()

    @rule(who=_NODES)
    def agent_is_started(self, who: int) -> None:
        self.sim.nodes[who].start()

    @rule(who=_NODES, cut=st.booleans())
    def link_of_a_node(self, who: int, cut: bool) -> None:
        self.sim.nodes[who].client.is_cut = cut

    @rule(who=_LEADERS, cut=st.booleans())
    def link_of_a_coordinator(self, who: int, cut: bool) -> None:
        self.sim.leaders[who].client.is_cut = cut

    @rule(who=_NODES, fails=st.booleans())
    def release_of_a_node(self, who: int, fails: bool) -> None:
        self.sim.nodes[who].machine.fails = fails

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 12.0, 20.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.sim.advance(seconds)

    @rule()
    def store_is_backed_up(self) -> None:
        self.sim.server.back_up()

    @rule()
    def store_is_restored(self) -> None:
        self.sim.restore()

    @invariant()
    def holds(self) -> None:
        self.sim.check()

    def teardown(self) -> None:
        self.sim.settle()


def test_no_order_of_events_commits_unready_or_obeys_what_is_older() -> None:
    run_state_machine_as_test(
        FleetMachine,
        settings=settings(
            max_examples=_EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
