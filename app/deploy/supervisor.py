"""Starts one application process, waits for it, and writes down how it ended. Run as a file of its own:

    python -I -S supervisor.py DESCRIPTOR LOG ARGUMENT...

The command that starts a version exits; this process stays, so that somebody is there to receive the exit
status. It imports nothing of the project and hardly anything of Python, because one stays in memory for
each version.

DESCRIPTOR is the record, one JSON object in a file, open and locked. The lock (flock) was taken by whoever started us
and is held by us for as long as the application lives. Whoever finds the record locked knows, without comparing
pids, that the process named in it is the right one and alive; or, while it is empty, that the name will be there in
a moment, even if the command that began all this was killed. On standard output we say `PID` of the application, or
`!REASON` when that could not be started.
"""

import fcntl
import os
import signal
import sys
import time


def main(held: int, log: str, arguments: list[str]) -> None:
    """Start, tell the pid, wait, record the exit status."""
    if os.fork():
        # Whoever called us need not wait for us: the one that stays belongs to init.
        os._exit(0)
    os.set_inheritable(held, False)
    pid, failure = spawn(log, arguments)
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
    write(held, pid, exit_status(os.waitpid(pid, 0)[1]))


def hold(record: str) -> int:
    """Open the record and lock it until this process ends; readers test the lock for an instant only."""
    held = os.open(record, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def write(held: int, pid: int, status: int | None, mode: str = "detached") -> None:
    """Write the record in one piece. In place, for the lock belongs to this very file."""
    ended = "null" if status is None else repr(time.time())
    exited = "null" if status is None else str(status)
    ends = f'"exit_status": {exited}, "ended_at": {ended}'
    line = f'{{"pid": {pid}, "supervisor": {os.getpid()}, "mode": "{mode}", {ends}}}'
    try:
        os.pwrite(held, line.encode().ljust(199) + b"\n", 0)
    except OSError:
        pass  # disk full: the application matters more than the record of its end


def spawn(log: str, arguments: list[str]) -> tuple[int, str]:
    """Start the application as the leader of a session of its own; gives its pid, and why it failed or ""."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    # Closed by a successful exec; carries the reason of a failed one.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            # Python ignores these and exec would hand that on; an application expects the defaults.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execvp(arguments[0], arguments)
        except OSError as error:
            os.write(writer, (error.strerror or str(error)).encode())
        finally:
            os._exit(127)
    os.close(output)
    os.close(writer)
    return pid, os.read(reader, 1000).decode()


def exit_status(status: int) -> int:
    """The exit code, or minus the number of the signal that ended the process."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
