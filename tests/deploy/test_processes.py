from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.deploy.processes import supervisor
from app.deploy.processes.launch import Launch
from app.deploy.processes.process_table import Found, Processes
from app.deploy.processes.sessions import port_holder
from app.operator_errors import ProcessError
from app.state.model import VersionState
from app.state.process_birth import birth, is_zombie
from tests.support.router_process import free_port
from tests.support.waiting import wait_until

BLUE = VersionState("blue", 5005)
SLEEP = ("sleep", "60")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "state")
    made.folder.mkdir()
    yield made
    made.stop(BLUE, 0)


def launch(*arguments: str, folder: Path | None = None) -> Launch:
    environment = {"PATH": os.environ["PATH"], "BG_VERSION": "blue"}
    return Launch(arguments, folder or Path("/"), environment)


def ended(processes: Processes) -> Found:
    wait_until(lambda: not processes.find(BLUE).alive, "the process's end")
    return processes.find(BLUE)


def test_nothing_is_found_before_the_first_start(processes: Processes) -> None:
    assert processes.find(BLUE) == Found(False)


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -KILL $$", -9), ("exit 0", 0)])
def test_how_a_process_ended_is_known_though_nobody_waited(processes: Processes, script: str, status: int) -> None:
    pid = processes.start("blue", launch("sh", "-c", script))
    found = ended(processes)
    assert (found.pid, found.exit_status) == (pid, status)


def test_output_is_appended_to_the_log(processes: Processes) -> None:
    for word in ("one", "two"):
        processes.start("blue", launch("sh", "-c", f"echo {word}; echo {word} >&2"))
        ended(processes)
    assert processes.log_path("blue").read_text() == "one\none\ntwo\ntwo\n"


def test_no_zombie_is_left_to_whoever_started_it(processes: Processes) -> None:
    pid = processes.start("blue", launch(*SLEEP))
    assert psutil.Process(pid).pid not in [child.pid for child in psutil.Process().children(recursive=True)]


def test_a_living_process_is_found_by_its_record_alone(processes: Processes) -> None:
    pid = processes.start("blue", launch(*SLEEP))
    found = processes.find(replace(BLUE, pid=1, pid_birth="of-another"))
    assert (found.alive, found.pid, found.in_foreground) == (True, pid, False)
    assert found.supervisor is not None
    # the one that keeps the record is small
    assert psutil.Process(found.supervisor).memory_info().rss < 20 << 20


def test_what_a_killed_command_was_just_starting_is_found(processes: Processes) -> None:
    """Its supervisor holds the record from the first moment on, and has yet to write into it."""
    held = supervisor.hold(str(processes.record_path("blue")))
    writing = threading.Timer(0.3, supervisor.write, (held, os.getpid(), None))
    writing.start()
    try:
        assert processes.find(BLUE) == Found(True, os.getpid(), None, os.getpid())
    finally:
        writing.join()
        supervisor.write(held, os.getpid(), 0)
        os.close(held)


def test_the_supervisor_outlives_the_command_that_started_it(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command killed before the supervisor has told it the pid: nobody reads what that says."""

    def killed(starting: subprocess.Popen[bytes]) -> str:
        assert starting.stdout is not None
        starting.stdout.close()
        return "0"

    monkeypatch.setattr("app.deploy.processes.process_table._first_line", killed)
    processes.start("blue", launch(*SLEEP))
    pid = wait_until(lambda: processes.find(BLUE).pid, "the process")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert ended(processes).exit_status == -9


def test_without_a_supervisor_pid_and_birth_are_believed_together(processes: Processes) -> None:
    pid = processes.start("blue", launch(*SLEEP))
    keeper = processes.find(BLUE).supervisor
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: is_zombie(keeper), "its end")
    recorded = replace(BLUE, pid=pid, pid_birth=birth(pid))
    assert processes.find(recorded) == Found(True, pid)
    assert not processes.find(replace(recorded, pid_birth="of-another")).alive
    assert not processes.find(replace(recorded, pid_birth=None)).alive
    assert processes.stop(recorded, 5) is False
    assert not processes.find(recorded).alive


def test_a_record_of_an_earlier_process_says_nothing_about_this_one(processes: Processes) -> None:
    processes.start("blue", launch("sh", "-c", "exit 3"))
    ended(processes)
    assert processes.find(replace(BLUE, pid=4_194_000, pid_birth="of-another")) == Found(False, 4_194_000)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "supervisor": 1}'])
def test_a_torn_record_is_no_record(processes: Processes, content: str) -> None:
    processes.record_path("blue").write_text(content)
    assert processes.find(BLUE) == Found(False)


def test_stop_ends_everything_that_the_version_started(processes: Processes) -> None:
    pid = processes.start("blue", launch("sh", "-c", "sleep 60 & sleep 60 & wait"))
    wait_until(lambda: len(psutil.Process(pid).children()) == 2, "two children")
    family = [*psutil.Process(pid).children(), psutil.Process(pid)]
    assert processes.stop(BLUE, 5) is False
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)


def test_what_ignores_sigterm_is_killed(processes: Processes) -> None:
    processes.start("blue", launch("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60 & wait; done"))
    wait_until(lambda: "ready" in processes.log_path("blue").read_text(), "the trap")
    assert processes.stop(BLUE, 0.2) is True
    assert ended(processes).exit_status == -signal.SIGKILL


def test_what_a_crashed_version_left_behind_is_ended(processes: Processes) -> None:
    pid = processes.start("blue", launch("sh", "-c", "sleep 60 & sleep 60; wait"))
    children = wait_until(lambda: psutil.Process(pid).children(), "a child")
    os.kill(pid, signal.SIGKILL)
    ended(processes)
    assert children[0].is_running()
    processes.stop(BLUE, 5)
    wait_until(lambda: not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE, "its end")


def test_a_session_that_now_belongs_to_somebody_else_is_left_alone(processes: Processes) -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as stranger:
        try:
            processes.stop(replace(BLUE, pid=stranger.pid, pid_birth="of-another"), 0)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_program_that_cannot_be_executed_is_named(processes: Processes) -> None:
    with pytest.raises(ProcessError, match="blue could not be started: no-such-program: No such file or directory"):
        processes.start("blue", launch("no-such-program"))


def test_a_log_that_cannot_be_written_is_named(processes: Processes) -> None:
    processes.log_path("blue").mkdir(parents=True)
    with pytest.raises(ProcessError, match=r"Is a directory \(.*blue.log\)") as caught:
        processes.start("blue", launch(*SLEEP))
    assert caught.value.hint.startswith("ls -ld ")


def test_a_directory_that_has_gone_is_named(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"No such file or directory \(.*gone\)"):
        processes.start("blue", launch(*SLEEP, folder=tmp_path / "gone"))


def test_processes_of_other_users_are_not_signalled_silently(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.start("blue", launch(*SLEEP))

    def refuse(process: psutil.Process, _number: int) -> None:
        raise psutil.AccessDenied(process.pid)

    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "send_signal", refuse)
        with pytest.raises(ProcessError, match=r"blue \(pid \d+\) belongs to another user"):
            processes.stop(BLUE, 0)


def test_a_process_that_survives_sigkill_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    processes = Processes(tmp_path, clock=lambda: next(ticks), sleep=lambda _pause_s: None)
    pid = processes.start("blue", launch(*SLEEP))
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "send_signal", lambda *_: None)
        with pytest.raises(ProcessError, match=f"pid {pid}.*not even by SIGKILL"):
            processes.stop(BLUE, 1)
    processes.stop(BLUE, 100)


def test_port_holder_names_the_process() -> None:
    port = free_port()
    assert port_holder(port) == ""
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert port_holder(port).startswith(f"pid {holder.pid} ({sys.executable} -c")
        holder.kill()


# --- the supervisor's parts, in this process -------------------------------------------------------------


def test_spawn_reports_why_a_program_could_not_be_executed(tmp_path: Path) -> None:
    pid, failure = supervisor.spawn(str(tmp_path / "log"), ["no-such-program"])
    assert failure == "No such file or directory"
    assert supervisor.exit_status(os.waitpid(pid, 0)[1]) == 127


def test_spawned_process_leads_a_session_and_writes_to_the_log(tmp_path: Path) -> None:
    pid, failure = supervisor.spawn(str(tmp_path / "log"), ["sh", "-c", "ps -o sid= -p $$; kill -TERM $$"])
    assert failure == ""
    assert supervisor.exit_status(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    assert (tmp_path / "log").read_text().strip() == str(pid)


def test_record_is_one_line_of_json_that_later_ones_replace(tmp_path: Path) -> None:
    held = supervisor.hold(str(tmp_path / "record"))
    try:
        supervisor.write(held, 12, None)
        running = json.loads((tmp_path / "record").read_bytes())
        supervisor.write(held, 12, -9, mode="foreground")
        ended = json.loads((tmp_path / "record").read_bytes())
    finally:
        os.close(held)
    assert (running["pid"], running["exit_status"], running["mode"]) == (12, None, "detached")
    assert (ended["exit_status"], ended["mode"], ended["supervisor"]) == (-9, "foreground", os.getpid())
    assert ended["ended_at"] > 1e9


def test_a_record_that_cannot_be_written_does_not_end_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "record").touch()
    reading = os.open(tmp_path / "record", os.O_RDONLY)
    supervisor.write(reading, 12, 0)
    os.close(reading)
    assert (tmp_path / "record").read_bytes() == b""
