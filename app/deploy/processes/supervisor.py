"""Starts one application process, waits for it, and writes down how it ended. Run as a file of its own:

    python -I -S supervisor.py DESCRIPTOR LOG RESTARTS DELAY GRACE ARGUMENT...

The command that starts a version exits; this process stays, so that somebody is there to receive the exit
status. It imports nothing of the project and hardly anything of Python, because one stays in memory for
each version.

DESCRIPTOR is the record, one JSON object in a file, open and locked. The lock (flock) was taken by whoever started us
and is held by us for as long as we look after the application. Whoever finds the record locked and without an exit
status knows, without comparing pids, that the process named in it is the right one and alive; or, while it is empty,
that the name will be there in a moment, even if the command that began all this was killed. On standard output we say
`PID` of the application, or `!REASON` when that could not be started.

With RESTARTS other than 0, an application that fails is started again: so many times in a row, the first time at once,
then DELAY seconds later and twice as long each time. GRACE seconds are given to what a failed one has left behind.
That begins with SIGUSR2, by which a command says that the version has come up, and ends with SIGUSR1, by which one says
that it is to stop; the record shows that we have heard, and only then may the application be told to end.
"""

import fcntl
import os
import signal
import sys
import time

BEGIN = signal.SIGUSR2
CEASE = signal.SIGUSR1
_SIGNALS = {BEGIN, CEASE, signal.SIGCHLD}
"""Blocked, and taken one after the other where they are waited for: nothing can come between a look and a deed."""

_CLEAN = (0, -signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGPIPE)
"""Ends that are no failures, as in systemd's `Restart=on-failure`."""

_LONGEST_DELAY_S = 60.0
_SETTLED_S = 60.0
"""An application that has run for so long has come up, and a failure of it begins a new row."""

_LOOK_S = 0.02
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def main(held: int, log: str, restarts: int, delay_s: float, grace_s: float, arguments: list[str]) -> None:
    """Start, tell the pid, wait, record the exit status; start again where that is wanted."""
    if os.fork():
        # Whoever called us need not wait for us: the one that stays belongs to init.
        os._exit(0)
    os.set_inheritable(held, False)
    if restarts:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    pid, failure = spawn(log, arguments)
    keeper = Keeper(held, log, pid)
    if restarts:
        keeper.note()
    else:
        write(held, pid, None)
    try:
        os.write(1, f"!{failure}\n".encode() if failure else f"{pid}\n".encode())
    except OSError:
        pass  # the command was killed; what it started is still ours to watch
    # The pipe to the command that started us, and its terminal, are none of our business from here on.
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    # Whoever ends a whole group of processes wants the application to end, and its exit status is still
    # wanted.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if restarts:
        keeper.keep(restarts, delay_s, grace_s, arguments)
    else:
        write(held, pid, exit_status(os.waitpid(pid, 0)[1]))


class Keeper:
    """Keeps one application running: starts it again whenever it fails, until it is stopped or failed too often."""

    def __init__(self, held: int, log: str, pid: int) -> None:
        self.held = held
        self.log = log
        self.pid = pid
        self.started_at = time.time()
        self.status: int | None = None
        self.times = self.in_row = 0
        self.next_at: float | None = None
        self.begins = self.ceases = self.gives_up = False
        self.last: tuple[int, float] | None = None

    def keep(self, limit: int, delay_s: float, grace_s: float, arguments: list[str]) -> None:
        """Look after it for as long as anybody wants it to run."""
        while True:
            began = time.monotonic()
            has_failed = self.wait_for_end()
            if time.monotonic() - began > _SETTLED_S:
                self.in_row = 0
            self.gives_up = has_failed and self.in_row == limit
            if self.gives_up:
                self.say(f"gave up after {limit} restarts in a row")
            if not has_failed or self.gives_up:
                self.ceases = True
                self.note()
                return
            pause_s = min(delay_s * 2 ** (self.in_row - 1), _LONGEST_DELAY_S) if self.in_row else 0.0
            self.next_at = time.time() + pause_s
            self.note()
            self.say("is started again" + (f" in {pause_s:g} s" if pause_s else ""))
            self.pause(pause_s, grace_s)
            if self.ceases:
                self.next_at = None
                self.note()
                return
            self.start(arguments)

    def start(self, arguments: list[str]) -> None:
        """Start it once more."""
        self.pid, failure = spawn(self.log, arguments)
        self.started_at, self.status, self.next_at = time.time(), None, None
        self.times += 1
        self.in_row += 1
        self.note()
        if failure:
            self.say(f"could not be started again: {failure}")

    def wait_for_end(self) -> bool:
        """Wait until it has ended, and hear what commands say meanwhile; gives whether it is to be started again."""
        ending = None
        while ending is None:
            self.take(None)
            # Not received yet, so that its number stays its own, and that of its group.
            ending = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        status = ending.si_status if ending.si_code == os.CLD_EXITED else -ending.si_status
        has_failed = self.begins and not self.ceases and status not in _CLEAN
        if has_failed:
            self.signal_rest(signal.SIGTERM)
        os.waitpid(self.pid, 0)
        self.status, self.last = status, (status, time.time())
        return has_failed

    def pause(self, pause_s: float, grace_s: float) -> None:
        """Wait, be it for what it has left behind, which would keep its port, or until a command says to cease."""
        began = time.monotonic()
        while not self.ceases:
            waited_s = time.monotonic() - began
            is_there = waited_s < grace_s and self.signal_rest(0)
            if not is_there and waited_s >= pause_s:
                break
            self.take(_LOOK_S if is_there else pause_s - waited_s)
        if not self.ceases:
            self.signal_rest(signal.SIGKILL)

    def take(self, timeout_s: float | None) -> None:
        """Take the next signal; the record shows a command that it was heard."""
        waited = signal.sigwaitinfo(_SIGNALS) if timeout_s is None else signal.sigtimedwait(_SIGNALS, timeout_s)
        number = waited.si_signo if waited is not None else 0
        self.begins |= number == BEGIN
        self.ceases |= number == CEASE
        if number in (BEGIN, CEASE):
            self.note()

    def signal_rest(self, number: int) -> bool:
        """Send a signal to its process group; False when there is none. One that is not empty keeps its number."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def say(self, what: str) -> None:
        """A line in the application's log: those before it may be its last words."""
        ended = f"ended with {self.last[0]} and " if self.last else ""
        output = open_log(self.log)
        try:
            os.write(output, f"--- pid {self.pid} {ended}{what}   # restart = on-failure\n".encode())
        except OSError:
            pass  # disk full
        finally:
            os.close(output)

    def note(self) -> None:
        """Write the record."""
        status, at = self.last if self.last else (None, None)
        more = (
            f', "restarts": {{"is_on": {_json(self.begins and not self.ceases)}, "gave_up": {_json(self.gives_up)}, '
            f'"times": {self.times}, "started_at": {self.started_at!r}, "next_at": {_json(self.next_at)}, '
            f'"last_exit_status": {_json(status)}, "last_ended_at": {_json(at)}}}'
        )
        write(self.held, self.pid, self.status, more=more, ended_at=at)


def hold(record: str) -> int:
    """Open the record and lock it until this process ends; readers test the lock for an instant only."""
    held = os.open(record, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def write(
    held: int,
    pid: int,
    status: int | None,
    mode: str = "detached",
    more: str = "",
    ended_at: float | None = None,
) -> None:
    """Write the record in one piece. In place, for the lock belongs to this very file."""
    ended = None if status is None else ended_at or time.time()
    ends = f'"exit_status": {_json(status)}, "ended_at": {_json(ended)}'
    line = f'{{"pid": {pid}, "supervisor": {os.getpid()}, "mode": "{mode}", {ends}{more}}}'
    try:
        os.pwrite(held, line.encode().ljust(499) + b"\n", 0)
    except OSError:
        pass  # disk full: the application matters more than the record of its end


def _json(value: float | None) -> str:
    return "null" if value is None else str(value).lower()


def spawn(log: str, arguments: list[str]) -> tuple[int, str]:
    """Start the application as the leader of a session of its own; gives its pid, and why it failed or ""."""
    output = open_log(log)
    # Closed by a successful exec; carries the reason of a failed one.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            # Python ignores these, and we hold others back; exec would hand that on, and an application expects the
            # defaults.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.execvp(arguments[0], arguments)
        except OSError as error:
            os.write(writer, (error.strerror or str(error)).encode())
        finally:
            os._exit(127)
    os.close(output)
    os.close(writer)
    failure = os.read(reader, 1000).decode()
    os.close(reader)
    return pid, failure


def open_log(log: str) -> int:
    """The application's log to append to; where it cannot be opened, what is said is lost and the application runs."""
    try:
        return os.open(log, _APPEND, 0o644)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def exit_status(status: int) -> int:
    """The exit code, or minus the number of the signal that ended the process."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]), sys.argv[6:])
