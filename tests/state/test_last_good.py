"""One last good state for all workers, in whatever order they look while the file is replaced, edited and torn."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import time_ns
from typing import Any

import pytest
from greenlet import getcurrent, greenlet
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.operator_errors import StateError, StateMissing
from app.state.codec import decode
from app.state.last_good import MAX_STATE_BYTES, LastGood
from app.state.model import BlueGreenState
from app.state.store import StateStore, last_good_path
from app.state.watch import StateWatch
from tests.support.forked import child
from tests.support.waiting import wait_until

TORN = b'{"active_ver'


def state_bytes(number: int) -> bytes:
    """A state file that can be told from all others."""
    return b'{"active_version": "blue", "serial": %d}' % number


def end_of(pid: int) -> None:
    """Waits for a child's end, and leaves it to be reaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


# --- the memory -----------------------------------------------------------------------------------------------


def test_what_is_published_is_what_all_read() -> None:
    last = LastGood.shared()
    assert (last.count, last.read()) == (0, b"")
    for number, raw in enumerate([b"a", b"bb" * 1000, bytes(MAX_STATE_BYTES), b"c"], 1):
        with last.turn():
            last.publish(raw)
            last.publish(raw)
        assert (last.count, last.read()) == (number, raw)


def test_what_a_child_publishes_its_parent_and_a_next_master_read() -> None:
    last = LastGood.shared()

    def publish() -> None:
        with last.turn():
            last.publish(b"from the child")

    with child(publish) as pid:
        end_of(pid)
    assert last.read() == b"from the child"
    number = last.hand_on()
    assert os.get_inheritable(last.fd)
    taken_over = LastGood.handed_on(str(os.dup(int(number))))
    assert taken_over is not None
    assert taken_over.read() == b"from the child"


@pytest.mark.parametrize("number", ["", "x", "-1", "999999", "99999999999999999999", '{"active_version": "blue"}'])
def test_what_is_no_number_of_ours_is_not_taken_over(number: str) -> None:
    assert LastGood.handed_on(number) is None


def test_descriptor_of_something_else_is_not_taken_over(tmp_path: Path) -> None:
    with (tmp_path / "other").open("wb") as other:
        assert LastGood.handed_on(str(other.fileno())) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_turn_of_a_process_that_is_killed_ends_and_one_that_hangs_holds_up_nobody(number: signal.Signals) -> None:
    last = LastGood.shared()
    begun, began = os.pipe()

    def hang_in_its_turn() -> None:
        with last.turn():
            os.write(began, b"x")
            signal.pause()

    with child(hang_in_its_turn) as pid:
        os.read(begun, 1)
        os.kill(pid, number)
        if number == signal.SIGKILL:
            end_of(pid)
        with last.turn():
            last.publish(b"ours")
        assert last.count == int(number == signal.SIGKILL), "without a turn nothing is published"
    for end in (begun, began):
        os.close(end)


def test_where_no_memory_can_be_had_forked_workers_share_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    last = LastGood.shared()
    assert LastGood.handed_on(last.hand_on()) is None
    with last.turn():
        last.publish(b"a")
    assert last.read() == b"a"


# --- every order ----------------------------------------------------------------------------------------------


class Turns(LastGood):
    """Its turns are those of greenlets, which give way to each other wherever a process might be interrupted."""

    holder: Any = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        yield_to_loop(lambda: self.holder is None)
        self.holder = getcurrent()
        try:
            yield
        finally:
            self.holder = None


def _always() -> bool:
    return True


def yield_to_loop(may_go_on: Callable[[], bool] = _always) -> None:
    """Lets somebody else go on; comes back when it may."""
    getcurrent().parent.switch(may_go_on)


@dataclass
class Run:
    """One order of steps: a file that is changed while workers look at it."""

    content: bytes | None = field(default_factory=lambda: state_bytes(1))
    changes: int = 0
    now: int = 0
    looks: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """Of each: when it began and ended, the changes then, and the state that it gave; 0 for none."""

    def stat(self, _path: bytes) -> Any:
        if self.content is None:
            raise FileNotFoundError(2, "No such file or directory")
        return os.stat_result((0o100644, 1, 0, 1, 0, 0, len(self.content), 0, 0, 0), {"st_ctime_ns": self.changes})

    def read(self, path: bytes) -> tuple[bytes, Any]:
        if path.endswith(b".last_good"):
            raise FileNotFoundError
        seen = self.stat(path)
        assert self.content is not None
        found = self.content
        yield_to_loop()
        return found, seen

    def change(self, contents: Sequence[bytes | None]) -> None:
        for content in contents:
            self.content = content
            self.changes += 1
            if content is not contents[-1]:
                yield_to_loop()

    def look(self, watch: StateWatch, times: int) -> None:
        for _ in range(times):
            begin, changes = self.now, self.changes
            state = watch.current()
            found = 0 if state is None else state.serial
            self.looks.append((begin, self.now, changes, self.changes, found))

    def go(self, choices: list[int], contents: Sequence[bytes | None], looks: tuple[int, ...]) -> list[int]:
        """Runs it, taking `choices` where there is one to take and then the first; returns how many there were."""
        last = Turns()
        steps = [greenlet(lambda: self.change(contents))]
        for times in looks:
            watch = StateWatch("state")
            watch._stat = self.stat  # type: ignore[assignment]  # of the file that is none
            watch.share(last)
            steps.append(greenlet(lambda watch=watch, times=times: self.look(watch, times)))
        conditions: dict[greenlet, Callable[[], bool]] = {}
        offered: list[int] = []
        while alive := [step for step in steps if not step.dead]:
            ready = [step for step in alive if conditions.get(step, _always)()]
            chosen = ready[choices[len(offered)] if len(offered) < len(choices) else 0]
            offered.append(len(ready))
            self.now += 1
            conditions[chosen] = chosen.switch() or _always
        return offered


def check(run: Run, contents: Sequence[bytes | None]) -> None:
    final = [found for _, _, changes, _, found in run.looks if changes == len(contents)]
    assert len(set(final)) <= 1, "after the last change all workers agree"
    for begin, _, changes, changes_then, found in run.looks:
        before = [other for _, end, _, _, other in run.looks if end <= begin]
        assert found >= max(before, default=0), "nobody goes back behind what one has served"
        content = [state_bytes(1), *contents][changes]
        if changes == changes_then and content is not None and content != TORN:
            assert state_bytes(found) == content, "a good file is believed"


@pytest.mark.sources
@pytest.mark.parametrize(
    ("contents", "looks"),
    [
        ((state_bytes(2), TORN), (2, 1)),
        ((state_bytes(2), None), (2, 1)),
        ((TORN, state_bytes(2)), (2, 1)),
        ((state_bytes(2), TORN, state_bytes(3)), (1, 1)),
        ((None, state_bytes(2), TORN), (1, 1)),
    ],
    ids=["torn", "gone", "mended", "torn-mended", "gone-mended-torn"],
)
def test_in_every_order_workers_agree_and_never_go_back(
    contents: Sequence[bytes | None], looks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = lru_cache(decode)
    monkeypatch.setattr("app.state.watch.decode", lambda raw, _: decoded(raw))
    runs = 0
    choices: list[int] = []
    while True:
        run = Run()
        monkeypatch.setattr("app.state.watch._read", run.read)
        offered = run.go(choices, contents, looks)
        check(run, contents)
        runs += 1
        choices += [0] * (len(offered) - len(choices))
        while choices and choices[-1] + 1 == offered[len(choices) - 1]:
            choices.pop()
        if not choices:
            break
        choices[-1] += 1
    assert runs > 100


# --- real files -----------------------------------------------------------------------------------------------


class ManyHands(RuleBasedStateMachine):
    """Three workers, and a state file that anybody does anything to."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.store = StateStore(self.folder / "bg_state.json")
        self.path, self.away = self.store.path, self.folder / "away"
        for path in (self.path, self.away, last_good_path(self.path)):
            path.unlink(missing_ok=True)
        self.number = 0
        self.last: BlueGreenState | None = None
        last_good = LastGood()
        self.watches = [StateWatch(self.path) for _ in range(3)]
        for watch in self.watches:
            watch.share(last_good)

    @rule()
    def switch(self) -> None:
        self.number += 1
        self.store.write(BlueGreenState("blue", serial=self.number))

    @rule()
    def edit(self) -> None:
        self.number += 1
        self.path.write_bytes(state_bytes(self.number))

    @rule(content=st.sampled_from([b"", TORN, b"[]", b"\x00" * 100]))
    def tear(self, content: bytes) -> None:
        self.path.write_bytes(content)

    @rule()
    def delete(self) -> None:
        self.path.unlink(missing_ok=True)

    @precondition(lambda self: self.path.exists())
    @rule()
    def move_away(self) -> None:
        self.path.rename(self.away)

    @precondition(lambda self: self.away.exists())
    @rule()
    def move_back(self) -> None:
        self.away.rename(self.path)

    @rule()
    def leave_it_alone(self) -> None:
        """Until its identity is trusted."""
        if self.path.exists():
            changed_ns = self.path.stat().st_ctime_ns
            wait_until(lambda: not 0 <= (time_ns() - changed_ns) < 60_000_000, "a file that is not young")

    @rule(worker=st.integers(0, 2))
    def look(self, worker: int) -> None:
        self.expect(self.watches[worker])

    @invariant()
    def a_broken_file_is_the_same_for_all(self) -> None:
        if self.readable() is None and self.last is not None:
            for watch in self.watches[1:]:  # the first one looks only when it is told to
                self.expect(watch)

    def expect(self, watch: StateWatch) -> None:
        self.last = self.readable() or self.last or self.store.last_good()  # kept by a command
        assert watch.current() == self.last

    def readable(self) -> BlueGreenState | None:
        with contextlib.suppress(StateMissing, StateError):
            return self.store.read()
        return None


def test_whatever_is_done_to_the_file_workers_agree(tmp_path: Path) -> None:
    ManyHands.folder = tmp_path
    machine = ManyHands.TestCase
    machine.settings = settings(
        max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine().runTest()
