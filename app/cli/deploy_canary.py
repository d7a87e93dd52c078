"""`blue_green_deploy canary`: a release tried with a share of the requests, what is told of it, and orders to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Final

from app.canary.course import Course, Step, parse_steps, percent
from app.canary.policy import Decision
from app.cli.deploy_call import Call, help_command
from app.cli.output import check_reader
from app.cli.terminal import clock_text
from app.command_line import PROGRAM
from app.deploy.canary_plan import CanaryPlan
from app.deploy.conduct.canary_record import CanaryRecord, read_record
from app.deploy.ordering import abort, order
from app.deploy.processes.process_table import is_same_process
from app.deploy.rolling_out import for_traffic_of_now
from app.operator_errors import UsageError
from app.settings.checks import is_choice_when_inconclusive
from app.state.model import BlueGreenState
from app.state.split import is_sticky

__all__ = ["canary_plan", "give_order", "print_canary"]

_LOOK_S: Final = 1.0


def canary_plan(call: Call) -> CanaryPlan:
    """The rollout, as the options and the settings say; raises `UsageError`."""
    chosen = call.canary
    sticky = call.text("--sticky") or chosen.sticky
    on_inconclusive = call.text("--on-inconclusive") or chosen.on_inconclusive
    if not is_sticky(sticky):
        raise UsageError(f"--sticky={sticky}: expected off, cookie, client or header:NAME", help_command())
    if not is_choice_when_inconclusive(on_inconclusive):
        raise UsageError(f"--on-inconclusive={on_inconclusive}: expected hold, promote or abort", help_command())
    course = Course(
        _steps(call),
        is_sticky=sticky != "off",
        needs_proof=call.flag("--require-proof") or chosen.require_proof,
        on_inconclusive=on_inconclusive,
        patience_s=chosen.patience,
        warm_up_s=chosen.warm_up,
    )
    return CanaryPlan(course, sticky)


def _steps(call: Call) -> tuple[Step, ...]:
    given = call.text("--steps")
    if given is None:
        return for_traffic_of_now(call.deployment, parse_steps(call.canary.steps))
    try:
        return parse_steps(given)
    except ValueError as error:
        raise UsageError(f"--steps={given}: {error}", help_command()) from None


def print_canary(call: Call) -> int:
    """Print how the rollout stands, with --follow again each second until it is over."""
    while True:
        state, record = call.store.read_or_new(), read_record(call.store.folder)
        print(_told(call, state, record), flush=True)
        check_reader()
        if not call.flag("--follow") or state.split is None:
            return 0
        time.sleep(_LOOK_S)


def _told(call: Call, state: BlueGreenState, record: CanaryRecord | None) -> str:
    conductor = _conductor(state, record)
    if call.flag("--json"):
        split = None if state.split is None else state.split.as_json()
        kept = None if record is None else {**record._asdict(), "is_conducted": conductor is not None}
        return json.dumps({"split": split, "rollout": kept}, indent=None if call.flag("--follow") else 2)
    return "\n".join(_lines(state, record, conductor))


def _conductor(state: BlueGreenState, record: CanaryRecord | None) -> int | None:
    """The process that conducts the rollout of the state file; None where none does."""
    if record is None or not record.is_of(state.split):
        return None
    return record.pid if is_same_process(record.pid, record.birth) else None


def _lines(state: BlueGreenState, record: CanaryRecord | None, conductor: int | None) -> list[str]:
    split, now = state.split, time.time()
    if split is None:
        last = [f"   The last one, at {clock_text(record.at)}: {record.sentence}"] if record else []
        return ["No version has a share of the requests", *last]
    if record is None or not record.is_of(split):
        return [
            f"🐤 {split.canary} has {percent(split.weight_at(now))} of the requests, by hand; nobody judges it",
            f"   To end it: {PROGRAM} canary abort",
        ]
    lines = [f"🐤 {record.sentence}"]
    if conductor is None:
        return [
            *lines,
            f"⚠️  The command that conducts it (pid {record.pid}) is gone. "
            + ("Its share ends" if now < split.until else "Its share ended")
            + f" at {clock_text(split.until)}, and the next command that changes something stops {split.canary}",
            f"   At once: {PROGRAM} canary abort",
        ]
    if record.decision in (Decision.WAIT, Decision.HOLD):
        lines.append(f"   Next: {record.coming}")
    return [*lines, f"   {PROGRAM} canary promote | hold | resume | abort"]


def give_order(call: Call) -> int:
    """Tell whoever conducts the rollout what to do."""
    word = next(word for word in _ORDERS if call.flag(word))
    act, told = _ORDERS[word]
    act(call)
    print(told)
    return 0


_ORDERS: Final[Mapping[str, tuple[Callable[[Call], None], str]]] = {
    "abort": (lambda call: abort(call.deployer), "↩️  All requests go to the active version again"),
    "promote": (
        lambda call: order(call.deployer, "promote"),
        "⏩ It gets all requests, unless the evidence is against",
    ),
    "hold": (lambda call: order(call.deployer, "hold"), "✋ It keeps the share that it has"),
    "resume": (lambda call: order(call.deployer, ""), "▶️  It goes on by itself"),
}
"""By the word on the command line: what is done, and what is said."""
