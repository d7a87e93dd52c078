"""A rollout conducted on real processes, the figures of the requests being a script."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.canary.course import Course, Step
from app.canary.outcomes import Outcomes, Pair
from app.deploy.canary_plan import CanaryPlan
from app.deploy.conduct.canary_record import read_record
from app.deploy.deployer import Overrides
from app.deploy.events import BrokenOff, CanaryJudged
from app.deploy.ordering import abort, order
from app.operator_errors import OperatorError, UnhealthyVersion
from app.state.model import with_split
from app.state.split import Split
from tests.deploy.rehearsal import FakeTraffic, Rehearsal
from tests.support.waiting import wait_until

GOOD = Pair(Outcomes(200, 0, 100, 10), Outcomes(800, 1, 400, 40))
FAILING = Pair(Outcomes(200, 10, 100, 10), Outcomes(800, 0, 400, 40))
NONE = Pair()

QUICK = Course((Step(500, 0.5), Step(5_000, 0.5)), warm_up_s=0.0)


@dataclass
class Requests(FakeTraffic):
    """Each look finds as many more requests."""

    each: Pair = GOOD
    so_far: Pair = NONE

    def shared_out(self, canary: str, *, by_client: bool) -> Pair:
        self.so_far = self.so_far.plus(self.each)
        return self.so_far


@pytest.fixture
def blue(rehearsal: Rehearsal) -> Rehearsal:
    """Blue is active with r1."""
    rehearsal.deployer().start("blue", Overrides(release="r1"))
    rehearsal.events.clear()
    rehearsal.traffic = Requests()
    return rehearsal


def roll_out(rehearsal: Rehearsal, course: Course = QUICK, **how: Any) -> None:
    rehearsal.deployer("canary").deploy(Overrides(release="r2"), canary=CanaryPlan(course), **how)


def test_a_good_release_is_given_more_and_more_and_then_all(blue: Rehearsal) -> None:
    roll_out(blue)
    assert blue.state.active_version == "green"
    assert blue.state.split is None
    said = [event.text for event in blue.seen(CanaryJudged) if event.is_news]
    assert [text[: text.index(":")] for text in said] == ["green r2 has 5 %", "green r2 has 50 %", "green r2 has 50 %"]
    entry = blue.history.entries()[-1]
    assert (entry.operation, entry.outcome) == ("deploy", "done")
    canary = entry.facts["canary"]
    assert isinstance(canary, dict)
    assert canary["decision"] == "promote"
    record = read_record(blue.store.folder)
    assert record is not None
    assert (record.canary, record.steps, record.decision) == ("green r2", [500, 5_000], "promote")


def test_a_failing_release_goes_back_and_is_stopped(blue: Rehearsal) -> None:
    blue.traffic = Requests(each=FAILING)
    with pytest.raises(UnhealthyVersion, match=r"green r2 goes back: the evidence against it is enough.*blue r1 0 of"):
        roll_out(blue)
    assert blue.state.active_version == "blue"
    assert blue.state.split is None
    assert blue.version("green").status == "stopped"
    assert blue.outcomes()[-1] == ("deploy", "rolled back")


def test_the_share_is_kept_up_while_it_is_conducted_and_has_an_end(blue: Rehearsal) -> None:
    blue.traffic = Requests(each=NONE)
    ends: list[float] = []
    with Conducted(blue) as over:
        await_share(blue)
        deadline = time.time() + 8
        while len(ends) < 2 and time.time() < deadline:
            split = blue.state.split
            assert split is not None
            assert 0 < split.until - time.time() <= 10
            assert split.slow_ms == (20.0, 90.0)
            if split.until not in ends:
                ends.append(split.until)
            time.sleep(0.1)
        abort(blue.deployer("abort"))
    assert len(ends) == 2
    assert isinstance(over.error, UnhealthyVersion)


def await_share(rehearsal: Rehearsal) -> None:
    wait_until(lambda: rehearsal.state.split is not None, "a share for the canary")


@dataclass
class Conducted:
    """A rollout in another thread, which ends within the block."""

    rehearsal: Rehearsal
    course: Course = QUICK
    error: BaseException | None = None
    thread: threading.Thread = field(init=False)

    def __enter__(self) -> Conducted:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self) -> None:
        try:
            roll_out(self.rehearsal, self.course)
        except OperatorError as error:
            self.error = error

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.rehearsal.kill("green")
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_orders_hold_it_and_promote_it(blue: Rehearsal) -> None:
    with Conducted(blue) as over:
        await_share(blue)
        order(blue.deployer("hold"), "hold")
        wait_until(
            lambda: (record := read_record(blue.store.folder)) is not None and record.decision == "hold", "a hold"
        )
        assert blue.state.active_version == "blue"
        order(blue.deployer("promote"), "promote")
    assert over.error is None
    assert blue.state.active_version == "green"


def test_abort_takes_the_share_at_once_and_beats_a_promotion(blue: Rehearsal) -> None:
    with Conducted(blue, QUICK._replace(steps=(Step(500, 60.0),))) as over:
        await_share(blue)
        order(blue.deployer("promote"), "promote")
        abort(blue.deployer("abort"))
        assert blue.state.split is None
    if blue.state.active_version == "green":
        pytest.skip("it was promoted before the abort came, which then said so")
    assert isinstance(over.error, UnhealthyVersion)
    assert blue.version("green").status == "stopped"


def test_what_others_made_of_it_stands(blue: Rehearsal) -> None:
    with Conducted(blue, QUICK._replace(steps=(Step(500, 60.0),))) as over:
        await_share(blue)
        blue.deployer("switch").switch("green")
    assert blue.state.active_version == "green"
    assert blue.version("green").status == "running"
    assert over.error is not None
    assert "another command has made green active" in str(over.error)


def test_the_canary_is_not_restarted_or_replaced_meanwhile(blue: Rehearsal) -> None:
    with Conducted(blue, QUICK._replace(steps=(Step(500, 60.0),))):
        await_share(blue)
        with pytest.raises(OperatorError, match="a canary is under way"):
            blue.deployer().restart("green")
        with pytest.raises(OperatorError, match="a canary is under way"):
            blue.deployer().stop("green")
        blue.store.write(replace(blue.state, previous_version="green"))
        with pytest.raises(OperatorError, match="a canary is under way"):
            blue.deployer().rollback()
        abort(blue.deployer("abort"))


def test_a_canary_that_ends_goes_back_at_once(blue: Rehearsal) -> None:
    with Conducted(blue, QUICK._replace(steps=(Step(500, 60.0),))) as over:
        await_share(blue)
        blue.kill("green")
    assert "it has ended (killed by SIGKILL)" in str(over.error)
    assert blue.state.split is None


def test_a_command_that_was_killed_leaves_a_share_that_ends_and_the_next_one_takes_it_back(blue: Rehearsal) -> None:
    killed_while_conducting(blue)
    split = blue.state.split
    assert split is not None
    assert split.weight_at(time.time() + 10) == 0
    blue.deployer("next").switch("blue")
    assert blue.state.split is None
    assert blue.version("green").status == "stopped"
    assert blue.seen(BrokenOff)[-1].phase == "canary"
    assert "had a share of the requests and was stopped" in blue.seen(BrokenOff)[-1].left_behind


def killed_while_conducting(rehearsal: Rehearsal) -> None:
    """A process that conducts a rollout, killed once the canary has its share."""
    pid = os.fork()
    if not pid:
        try:
            roll_out(rehearsal, QUICK._replace(steps=(Step(500, 60.0),)))
        finally:
            os._exit(1)
    try:
        await_share(rehearsal)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda it: setattr(it, "traffic", None), "the router is not running"),
        (lambda it: it.store.write(with_split(it.state, Split("green", 100, 1e10))), "has a share of the requests"),
        (lambda it: it.deployer().start("green", Overrides(release="r2")), None),
    ],
    ids=["no router", "shared out already", "the standby runs"],
)
def test_what_cannot_be_done_is_said_before_anything_is_started(
    blue: Rehearsal, spoil: Callable[[Rehearsal], object], why: str | None
) -> None:
    spoil(blue)
    if why is None:
        roll_out(blue)
        return
    with pytest.raises(OperatorError, match=why):
        roll_out(blue)
    assert blue.version("green").status == "stopped"


def test_the_same_release_twice_is_no_trial(blue: Rehearsal) -> None:
    with pytest.raises(OperatorError, match="r1 is what blue runs already"):
        blue.deployer().deploy(Overrides(release="r1"), canary=CanaryPlan(QUICK))


def test_without_an_active_version_there_is_nothing_to_share(rehearsal: Rehearsal) -> None:
    rehearsal.traffic = Requests()
    with pytest.raises(OperatorError, match="no active version"):
        roll_out(rehearsal)
