"""`[app] restart = "on-failure"`: real supervisors, real applications that end in all ways."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.deploy.processes.launch import Launch, RestartPolicy
from app.deploy.processes.process_table import Processes
from app.deploy.processes.reconcile import as_found, restarts_text
from app.deploy.processes.sessions import Session
from app.facts import Restarts
from app.operator_errors import ProcessError
from app.state.model import VersionState
from app.state.process_birth import is_zombie
from tests.support.waiting import wait_until

BLUE = VersionState("blue", 5005, status="running")
ALWAYS = RestartPolicy(limit=100, delay_s=0.0, grace_s=5.0)


class Farm:
    """Starts blue, which writes its pid to a file, and looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder)

    def start(self, script: str, policy: RestartPolicy = ALWAYS, *, begins: bool = True) -> int:
        environment = {"PATH": os.environ["PATH"], "BG_VERSION": "blue"}
        pid = self.processes.start("blue", Launch(("sh", "-c", script), self.folder, environment, policy))
        if begins:
            self.processes.begin_restarts(BLUE)
            # One that ended meanwhile had not come up.
            wait_until(lambda: self.restarts.is_on or self.is_over(), "the supervisor's ear")
        return pid

    @property
    def restarts(self) -> Restarts:
        found = self.processes.find(BLUE).restarts
        assert found is not None
        return found

    def living(self, after: int) -> int:
        """The pid of the process that came after one."""

        def other() -> int | None:
            found = self.processes.find(BLUE)
            return found.pid if found.alive and found.pid != after else None

        pid = wait_until(other, "the next process")
        assert pid is not None
        return pid

    def is_over(self) -> bool:
        found = self.processes.find(BLUE)
        return not found.alive and found.supervisor is None


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    made = Farm(tmp_path)
    yield made
    made.processes.stop(BLUE, 0)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def test_a_version_that_is_killed_is_started_again(farm: Farm) -> None:
    pid = farm.start("exec sleep 60")
    kill(pid)
    second = farm.living(after=pid)
    assert (farm.restarts.times, farm.restarts.last_exit_status) == (1, -9)
    kill(second, signal.SIGSEGV)
    farm.living(after=second)
    assert (farm.restarts.times, farm.restarts.last_exit_status) == (2, -11)
    assert "ended with -9 and is started again" in farm.processes.log_path("blue").read_text()


def test_it_is_found_under_its_new_pid_and_since_its_new_start(farm: Farm) -> None:
    pid = farm.start("exec sleep 60")
    recorded = VersionState("blue", 5005, pid=pid, pid_birth="of-the-first", status="running", started_at=1.0)
    kill(pid)
    second = farm.living(after=pid)
    actual = as_found(recorded, farm.processes.find(recorded), is_settled=True)
    assert (actual.status, actual.pid) == ("running", second)
    assert actual.started_at is not None
    assert abs(actual.started_at - time.time()) < 5


@pytest.mark.parametrize("end", ["exit 0", "kill -TERM $$", "kill -INT $$", "kill -HUP $$", "kill -PIPE $$"])
def test_an_end_that_is_no_failure_stays_an_end(farm: Farm, end: str) -> None:
    farm.start(f"sleep 0.3; {end}")
    wait_until(farm.is_over, "the end")
    assert (farm.restarts.times, farm.restarts.is_on) == (0, False)


def test_an_exit_status_is_a_failure(farm: Farm) -> None:
    pid = farm.start("sleep 0.3; exit 3")
    farm.living(after=pid)
    assert farm.restarts.last_exit_status == 3


def test_one_that_never_came_up_is_not_started_again(farm: Farm) -> None:
    """The health gate has the word until it is passed: a start that fails must fail at once."""
    farm.start("exit 3", begins=False)
    wait_until(farm.is_over, "the end")
    assert farm.restarts.times == 0


def test_after_so_many_in_a_row_it_stays_down(farm: Farm) -> None:
    farm.start("sleep 0.1; exit 3", RestartPolicy(limit=3, delay_s=0.01))
    wait_until(farm.is_over, "giving up")
    assert (farm.restarts.times, farm.restarts.gave_up) == (3, True)
    assert restarts_text(farm.restarts, time.time()) == "given up after 3 times"
    assert "gave up after 3 restarts in a row" in farm.processes.log_path("blue").read_text()
    found = as_found(BLUE, farm.processes.find(BLUE), is_settled=True)
    assert (found.status, found.exit_status) == ("crashed", 3)


def test_later_restarts_wait_longer_and_longer(farm: Farm) -> None:
    farm.start("echo at $(date +%s.%N); sleep 0.05; exit 3", RestartPolicy(limit=4, delay_s=0.2))
    wait_until(farm.is_over, "giving up")
    at = [float(line[3:]) for line in farm.processes.log_path("blue").read_text().splitlines() if line[:3] == "at "]
    gaps = [later - earlier for earlier, later in zip(at, at[1:], strict=False)]
    assert len(gaps) == 4
    assert gaps[1] > 0.2
    assert gaps[2] > 0.4
    assert gaps[3] > 0.8


def test_while_it_waits_it_is_down_and_says_when_it_is_started_again(farm: Farm) -> None:
    pid = farm.start("sleep 0.1; exit 3", RestartPolicy(limit=100, delay_s=30))
    wait_until(lambda: (farm.restarts.next_at or 0) > time.time() + 20, "a long wait")
    found = farm.processes.find(BLUE)
    recorded = as_found(BLUE, found, is_settled=True)
    assert (recorded.status, recorded.exit_status, found.alive) == ("crashed", 3, False)
    assert found.pid != pid
    assert restarts_text(farm.restarts, farm.restarts.next_at - 12.0) == "in 12 s, after 1 time"  # type: ignore[operator]


def test_a_stop_ends_it_for_good(farm: Farm) -> None:
    pid = farm.start("exec sleep 60")
    farm.processes.stop(BLUE, 5, "KILL")  # which would otherwise be a failure
    wait_until(farm.is_over, "the end")
    assert farm.restarts.times == 0
    assert farm.processes.find(BLUE).pid == pid


def test_a_stop_while_it_waits_ends_the_waiting(farm: Farm) -> None:
    farm.start("sleep 0.1; exit 3", RestartPolicy(limit=100, delay_s=30))
    wait_until(lambda: (farm.restarts.next_at or 0) > time.time() + 20, "a long wait")
    farm.processes.stop(BLUE, 5)
    wait_until(farm.is_over, "the end")
    assert not farm.restarts.is_on


def test_nothing_lives_after_a_stop_at_whatever_moment(farm: Farm) -> None:
    """It fails all the time, so that stops fall between its end and its next start."""
    for turn in range(60):
        farm.start("sleep 0.01; exit 3")
        time.sleep(turn % 20 / 500)
        farm.processes.stop(BLUE, 5)
        last = farm.processes.find(BLUE).pid
        assert last is not None
        assert Session(last, "blue", is_trusted=False).is_empty()
        wait_until(farm.is_over, "the supervisor's end")
        assert farm.processes.find(BLUE).pid == last


def test_what_a_killed_version_left_behind_has_ended_before_the_next_one_starts(farm: Farm) -> None:
    """gunicorn's workers outlive a killed master for a while, and keep its port."""
    script = "sh -c 'echo child $$; exec sleep 60' & exec sleep 60"
    pid = farm.start(script)
    log = farm.processes.log_path("blue")
    wait_until(lambda: "child" in log.read_text(), "the child")
    child = int(log.read_text().split()[1])
    kill(pid)
    farm.living(after=pid)
    assert is_zombie(child)


def test_what_does_not_end_when_it_is_told_is_killed(farm: Farm) -> None:
    script = "(trap '' TERM; echo child; while :; do sleep 1; done) & exec sleep 60"
    pid = farm.start(script, RestartPolicy(limit=5, delay_s=0, grace_s=0.3))
    wait_until(lambda: "child" in farm.processes.log_path("blue").read_text(), "the child")
    kill(pid)
    farm.living(after=pid)
    wait_until(Session(pid, "blue", is_trusted=True).is_empty, "the end of what was left")


def test_a_supervisor_that_does_not_listen_is_told_of(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.deploy.processes.process_table._HEAR_WAIT_S", 0.2)
    pid = farm.start("exec sleep 60")
    keeper = farm.processes.find(BLUE).supervisor
    assert keeper is not None
    os.kill(keeper, signal.SIGSTOP)
    try:
        with pytest.raises(ProcessError, match="does not listen"):
            farm.processes.stop(BLUE, 0)
        assert farm.processes.find(BLUE).pid == pid
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_a_log_that_is_gone_keeps_nothing_from_being_started_again(farm: Farm) -> None:
    pid = farm.start("exec sleep 60")
    shutil.rmtree(farm.processes.log_path("blue").parent)
    kill(pid)
    farm.living(after=pid)
    assert farm.restarts.times == 1


def test_the_application_can_use_those_signals_itself(farm: Farm) -> None:
    farm.start("trap 'echo one' USR1; trap 'echo two' USR2; echo up; while :; do sleep 0.05; done")
    log = farm.processes.log_path("blue")
    wait_until(lambda: "up" in log.read_text(), "the traps")
    pid = farm.processes.find(BLUE).pid
    assert pid is not None
    kill(pid, signal.SIGUSR1)
    kill(pid, signal.SIGUSR2)
    wait_until(lambda: "two" in log.read_text(), "both signals")
    assert "one" in log.read_text()
    assert farm.processes.find(BLUE).pid == pid


def test_without_the_setting_the_record_is_as_ever(farm: Farm) -> None:
    pid = farm.processes.start("blue", Launch(("sleep", "60"), farm.folder, {"PATH": os.environ["PATH"]}))
    farm.processes.begin_restarts(BLUE)
    kill(pid)
    wait_until(farm.is_over, "the end")
    assert farm.processes.find(BLUE).restarts is None
