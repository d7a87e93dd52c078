from __future__ import annotations

import itertools

import pytest

from app.deploy.phases import (
    PHASES,
    Configured,
    Operation,
    Phase,
    Recovery,
    Undo,
    check_order,
    phases_of,
    phases_of_turns,
)
from app.operator_errors import OperatorError

MODES = {
    *(Operation.PAUSE, Operation.RESUME, Operation.MAINTENANCE, Operation.PREVIEW),
    *(Operation.DRAIN, Operation.UNDRAIN, Operation.ORDER),
}
OPTIONS = list(itertools.product(Operation, *[(False, True)] * 4))


@pytest.mark.parametrize(("operation", "runs", "promotes", "drains", "retires"), OPTIONS)
def test_every_plan_obeys_the_table(
    operation: Operation, runs: bool, promotes: bool, drains: bool, retires: bool
) -> None:
    if promotes and retires and not drains:
        with pytest.raises(OperatorError, match="retiring cannot follow promoting"):
            check_order((Phase.PROMOTING, Phase.RETIRING))
        drains = True
    phases = phases_of(operation, target_runs=runs, promotes=promotes, drains=drains, retires=retires)
    assert check_order(phases) == phases
    if operation in MODES:
        assert phases[0] is Phase.WRITE_STATE
    elif operation is not Operation.STOP:
        assert Phase.GATING in phases
        assert (Phase.PROMOTING in phases) == promotes
        assert Phase.PROMOTING not in phases[: phases.index(Phase.GATING)]


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        (phases_of(Operation.START, target_runs=False), "launching gating promoting"),
        (phases_of(Operation.START, target_runs=True, promotes=False), "gating"),
        (phases_of(Operation.RESTART, target_runs=True, promotes=False), "clearing launching gating"),
        (phases_of(Operation.SWITCH, target_runs=True), "gating promoting"),
        (phases_of(Operation.ROLLBACK, target_runs=False), "launching gating promoting"),
        (phases_of(Operation.STOP, target_runs=True, drains=True), "draining retiring"),
        (
            phases_of(Operation.DEPLOY, target_runs=True, drains=True, retires=True),
            "clearing launching gating promoting draining retiring",
        ),
        (
            phases_of(
                Operation.DEPLOY,
                target_runs=False,
                drains=True,
                checks=Configured(smoke=True, post=True, watch=True),
            ),
            "launching gating smoke_test promoting post_switch watching draining",
        ),
        (
            phases_of(Operation.DEPLOY, target_runs=False, checks=Configured(smoke=True, canary=True)),
            "launching gating smoke_test canary promoting",
        ),
        (
            phases_of(Operation.DEPLOY, target_runs=True, checks=Configured(before=True, smoke=True)),
            "preparing clearing launching gating smoke_test promoting",
        ),
        (
            phases_of(Operation.ROLLBACK, target_runs=True, checks=Configured(revert=True)),
            "gating reverting promoting",
        ),
        (
            phases_of(Operation.SWITCH, target_runs=True, promotes=False, checks=Configured(smoke=True, post=True)),
            "gating",
        ),
        (phases_of(Operation.PAUSE, target_runs=True, drains=True), "write_state draining"),
        (phases_of_turns(Operation.RESTART, 2, waits=False), "replacing replacing"),
        (phases_of_turns(Operation.RESTART, 2, waits=True), 2 * "sparing draining replacing "),
        (phases_of_turns(Operation.SCALE, 1, waits=True), "sparing draining removing"),
        (phases_of_turns(Operation.SCALE, 1, waits=True, grows=True), "adding"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_plans(phases: tuple[Phase, ...], expected: str) -> None:
    assert " ".join(phases) == expected.strip()


def test_only_what_comes_before_the_switch_is_undone() -> None:
    undone = {phase for phase, rule in PHASES.items() if rule.undo is Undo.STOP_TARGET}
    assert undone == {Phase.LAUNCHING, Phase.GATING, Phase.SMOKE_TEST, Phase.REVERTING}


def test_what_checks_the_new_version_under_traffic_rolls_back() -> None:
    assert {phase for phase, rule in PHASES.items() if rule.undo is Undo.ROLL_BACK} == {
        Phase.POST_SWITCH,
        Phase.WATCHING,
    }


def test_a_killed_command_is_undone_only_before_its_target_had_traffic() -> None:
    undone = {phase for phase, rule in PHASES.items() if rule.recovery is Recovery.STOP_TARGET}
    assert undone == {Phase.LAUNCHING, Phase.GATING, Phase.SMOKE_TEST, Phase.REVERTING, Phase.PROMOTING}


def test_only_long_waits_let_other_commands_in() -> None:
    assert {phase for phase, rule in PHASES.items() if not rule.locked} == {
        *(Phase.CANARY, Phase.WATCHING, Phase.DRAINING)
    }


def test_every_phase_has_a_rule() -> None:
    assert set(PHASES) == set(Phase)
