"""The processes of the versions: started, looked at and stopped. The only room that signals or asks the
kernel.

A version is a group of processes in a session of its own, with a supervisor outside of it that keeps a record
(`<version>.process` beside the state file) and outlives the command that started it. A locked record proves
that its process lives; without a supervisor, a pid is believed only together with the process's birth. Of a version
with several instances each is such a group, and a version of its own here (`app.state.instances.one_of`): "blue.2".
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from app.deploy.processes.orphans import is_orphan
from app.operator_errors import ProcessError
from app.state.instances import all_of, count_of, number_of, one_of
from app.state.model import BlueGreenState, VersionState
from app.state.process_birth import birth, is_zombie
from app.state.store import mending

if TYPE_CHECKING:
    import subprocess

    from app.deploy.processes.launch import Launch
    from app.facts import Restarts

__all__ = ["Found", "Processes", "Record", "is_same_process"]

_RECORD: Final = ".process"

_FORK_HINT = "free -m; ulimit -u   # memory and processes that are left"

_POLL_S = 0.02

_BOOT_WAIT_S: Final = 2.0
"""A supervisor has written down whom it has started long before, unless the disk was full."""

_RECORD_WAIT_S: Final = 1.0
"""A supervisor that takes longer is stopped itself, and the exit status stays unknown."""

_HEAR_WAIT_S: Final = 5.0
"""A supervisor hears at once, unless it was frozen."""


class Found(NamedTuple):
    """What the kernel and the record say about a version's process at this moment.

    `pid` is the process that lives, or the last one that did. `exit_status` is None while it lives and when
    nobody saw it end; `ended_at` is wall time, likewise. `supervisor` is the pid of who keeps the record, where
    somebody does; with `in_foreground` that is a `run` in somebody else's hands, such as systemd's. `restarts` is
    there where the supervisor may start it again. `number` is which of the version's processes it is.
    """

    alive: bool
    pid: int | None = None
    exit_status: int | None = None
    supervisor: int | None = None
    in_foreground: bool = False
    restarts: Restarts | None = None
    ended_at: float | None = None
    number: int = 1


class Record(NamedTuple):
    """The content of a version's record file and whether its writer still holds it."""

    pid: int
    supervisor: int
    exit_status: int | None
    ended_at: float | None
    in_foreground: bool
    is_held: bool
    restarts: Restarts | None


class Processes:
    """The processes whose records and logs are kept in one folder, the state file's."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self._clock = clock
        self._sleep = sleep

    def log_path(self, name: str) -> Path:
        """Where a version's output goes."""
        return self.folder / "logs" / f"{name}.log"

    def record_path(self, name: str) -> Path:
        """Where a version's supervisor notes its process and how it ended."""
        return self.folder / (name + _RECORD)

    def find(self, version: VersionState) -> Found:
        """Look for a version's process; of several the first that lives, and when none does, the first."""
        found = self._find(version)
        for number in range(2, count_of(version) + 1):
            if found.alive:
                break
            other = self._find(one_of(version, number))
            found = other._replace(number=number) if other.alive else found
        return found

    def strays(self, version: VersionState) -> list[VersionState]:
        """Processes of a version that the state does not list: what killed commands have left behind."""
        try:
            names = [name.removesuffix(_RECORD) for name in os.listdir(self.folder) if name.endswith(_RECORD)]
        except OSError:
            return []
        numbers = sorted(number for it, number in map(number_of, names) if it == version.name)
        beyond = [one_of(version, number) for number in numbers if number > count_of(version)]
        return [one for one in beyond if (found := self._find(one)).alive and not found.in_foreground]

    def _find(self, version: VersionState) -> Found:
        """Look for one process: by its record first, else by the recorded pid and birth."""
        record = self._record(version.name)
        if record is not None and record.is_held and record.exit_status is None:
            return Found(True, record.pid, None, record.supervisor, record.in_foreground, record.restarts)
        if version.pid is not None and is_same_process(version.pid, version.pid_birth):
            return Found(True, version.pid)
        is_further = number_of(version.name)[1] > 1  # the state file has the birth of the first one alone
        if is_further and record is not None and record.exit_status is None and is_orphan(record.pid, version.name):
            return Found(True, record.pid)
        # A record of an earlier process says nothing about how this one ended; a restarted one has had several.
        if record is not None and (version.pid in (None, record.pid) or record.restarts):
            keeper = record.supervisor if record.is_held else None
            return Found(
                False, record.pid, record.exit_status, keeper, restarts=record.restarts, ended_at=record.ended_at
            )
        return Found(False, version.pid)

    def find_all(self, state: BlueGreenState | None) -> dict[str, Found]:
        """What the process of each version is found to do, by the version's name; of several also each, as "blue.1"."""
        versions = state.versions.values() if state is not None else ()
        found = {version.name: self.find(version) for version in versions}
        for version in versions:
            if count_of(version) > 1:
                each = enumerate(all_of(version), start=1)
                found |= {f"{version.name}.{number}": self._find(one) for number, one in each}
        return found

    def start(self, name: str, launch: Launch) -> int:
        """Start a version's process, detached from this one; gives its pid.

        Raises `ProcessError` when the program cannot be executed.
        """
        try:
            starting = self._supervised(name, launch)
        except OSError as error:
            hint = mending(error, Path(error.filename)) if error.filename else _FORK_HINT
            raise ProcessError(f"{name} could not be started: {error.strerror} ({error.filename})", hint) from error
        said = _first_line(starting)
        starting.wait()
        if not said.isdigit():
            raise ProcessError(
                f"{name} could not be started: {launch.arguments[0]}: {said[1:] or 'the supervisor failed'}",
                "set the command in traffic_router.toml ([app] command), or give --command",
            )
        return int(said)

    def _supervised(self, name: str, launch: Launch) -> subprocess.Popen[bytes]:
        """Starts a supervisor that starts the version, the lock on its record handed on to it. Raises OSError."""
        import subprocess  # takes its time, and only who starts something needs it

        from app.deploy.processes import supervisor
        from app.withheld import in_background

        log = self.log_path(name)
        log.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # The supervisor, which opens it again, has no words for what is wrong with it.
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
        # Whatever record is there from now on is this process's, though this command should be killed.
        Path(os.path.realpath(self.record_path(name))).unlink(missing_ok=True)
        held = supervisor.hold(str(self.record_path(name)))
        program = [sys.executable, "-I", "-S", supervisor.__file__]
        try:
            return subprocess.Popen(
                [*program, str(held), str(log), *map(str, launch.restart), *launch.arguments],
                cwd=launch.directory,
                env=in_background(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[held],
            )
        finally:
            os.close(held)

    def stop(self, version: VersionState, timeout_s: float, stop_signal: str = "TERM") -> bool:
        """End a version's processes and all that they started; gives whether that took a SIGKILL.

        `stop_signal` to the process group, `timeout_s` seconds to finish, SIGKILL to whatever of it is left. Raises
        `ProcessError` when even that does not end it, or when it belongs to another user.
        """
        each = all_of(version)
        for one in each:
            self._end_restarts(one)
        pids = {one.name: (found.pid, found.alive) for one in each if (found := self._find(one)).pid is not None}
        if not pids:
            return False
        # psutil takes its time, and only who stops something needs it.
        from app.deploy.processes.sessions import Session, end_all

        sessions = [Session(pid, name, is_trusted=alive) for name, (pid, alive) in pids.items() if pid is not None]
        was_killed = end_all(sessions, signal.Signals[f"SIG{stop_signal}"], self._wait, timeout_s)
        # The supervisor has yet to receive the exit status and to write it down.
        self._wait(lambda: not self.find(version).alive, _RECORD_WAIT_S)
        return was_killed

    def begin_restarts(self, version: VersionState) -> None:
        """From now on a failure of a version's process is its supervisor's to mend, if it was started for that."""
        for one in all_of(version):
            self._tell(one, signal.SIGUSR2)

    def _end_restarts(self, version: VersionState) -> None:
        """Keep the supervisor from starting the version again, and wait until it has heard: it may be about to.

        Raises `ProcessError` when it does not hear.
        """
        keeper = self._tell(version, signal.SIGUSR1)
        if keeper is not None and not self._wait(lambda: not self._is_kept(version), _HEAR_WAIT_S):
            raise ProcessError(
                f"the supervisor of {version.name} (pid {keeper}) does not listen, and would start it again",
                f"kill -9 {keeper}   # and the same command again",
            )

    def _is_kept(self, version: VersionState) -> bool:
        found = self.find(version)
        return found.supervisor is not None and found.restarts is not None and found.restarts.is_on

    def _tell(self, version: VersionState, number: signal.Signals) -> int | None:
        """Signal a supervisor that restarts its version; gives its pid, None where there is no such one."""
        found = self.find(version)
        if found.supervisor is None or found.restarts is None:
            return None
        try:
            os.kill(found.supervisor, number)
        except ProcessLookupError:
            return None
        except PermissionError as error:
            raise ProcessError(
                f"{version.name} (pid {found.pid}) belongs to another user",
                "the same command as that user, or with sudo",
            ) from error
        return found.supervisor

    def _record(self, name: str) -> Record | None:
        """The version's record, or None when there is none that makes sense."""
        try:
            descriptor = os.open(self.record_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # Locked and empty: a supervisor is at its beginning.
            self._wait(lambda: os.fstat(descriptor).st_size > 0 or not _is_locked(descriptor), _BOOT_WAIT_S)
            # Ask before reading: what a writer that has just let go wrote last is then in what is read.
            is_held = _is_locked(descriptor)
            noted = json.loads(os.pread(descriptor, 4096, 0))
            pid, keeper, exit_status = (noted[key] for key in ("pid", "supervisor", "exit_status"))
            restarts = _restarts(noted["restarts"]) if "restarts" in noted else None
            ended_at = noted.get("ended_at") if isinstance(noted.get("ended_at"), int | float) else None
            return Record(
                int(pid), int(keeper), exit_status, ended_at, noted["mode"] == "foreground", is_held, restarts
            )
        except (ValueError, KeyError, TypeError):
            return None
        finally:
            os.close(descriptor)

    def _wait(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        deadline = self._clock() + timeout_s
        while not holds():
            if self._clock() >= deadline:
                return False
            self._sleep(_POLL_S)
        return True


def is_same_process(pid: int, noted: str | None) -> bool:
    """Whether the process whose birth was noted lives; another one that got its pid does not count."""
    return noted is not None and noted == birth(pid) and not is_zombie(pid)


def _restarts(noted: dict[str, Any]) -> Restarts:
    from app.facts import Restarts  # most have none

    return Restarts(**noted)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None  # it was asked for with PIPE
    with process.stdout as output:
        return output.readline().decode(errors="replace").strip()
