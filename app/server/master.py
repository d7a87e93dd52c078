"""gunicorn's master, made careful: a reload, an upgrade or a worker that cannot boot never costs a request.

gunicorn tells old workers to end as soon as it has forked the new ones, halts when one cannot boot, and exits
when the settings file is broken at a reload. Here a worker is told to end only when another one serves in its
place, and a change that would not boot is found out beforehand and refused.

Nothing here imports requests or gevent: it lives in the master.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from gunicorn import sock, systemd
from gunicorn.errors import HaltServer

from app.command_line import ROUTER_PROGRAM
from app.event_file import Event, EventFile
from app.server.handoff import hand_on, moved, take_up, take_up_last_good
from app.server.next_start import read_start
from app.server.pid_file import PidFile
from app.server.worker_flag import CUTTING_S, WorkerFlag, raise_flag
from app.server.worker_manager import ENDING, WorkerManager, serves, signals_kept_waiting
from app.state.last_good import LastGood

__all__ = ["UPGRADE_TIMEOUT_S", "RouterArbiter"]

UPGRADE_TIMEOUT_S = 30.0
"""A new master whose workers do not serve by then gives up, and the old one goes on."""

_CHECK_TIMEOUT_S = 60.0

_END_LOOK_S = 0.1
"""Between two looks at workers that are about to end."""


class RouterArbiter(WorkerManager):
    """The arbiter that `gunicorn.conf.py` turns gunicorn's into; gunicorn has no setting for another class."""

    LISTENERS: list[Any]
    pid_file: PidFile
    state_file: str
    last_good: LastGood
    _gives_up_at = 0.0  # monotonic seconds
    _changed = ""  # by the last reload
    _has_taken_over = False
    _is_replaced = False  # by another master, which serves now
    _start: dict[Any, Any]  # as gunicorn keeps it: the program under 0, "args" and "cwd"

    @classmethod
    def adopt(cls, arbiter: Any, pid_file: PidFile, state_file: str) -> Self:
        """Makes gunicorn's arbiter, just starting, one of ours; ends the process where it could not take over."""
        fault = take_up(os.environ, pid_file)
        if arbiter.master_pid and fault:
            arbiter.log.error(fault)
            raise SystemExit(1)
        arbiter.__class__ = cls
        arbiter.pid_file = pid_file
        arbiter.state_file = state_file
        arbiter.last_good = take_up_last_good(os.environ, state_file)
        arbiter._gives_up_at = time.monotonic() + UPGRADE_TIMEOUT_S
        # gunicorn would run its own file by path, which after `python -m gunicorn` hides the standard `http`.
        arbiter.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
        arbiter._start = dict(arbiter.START_CTX)
        adopted: Self = arbiter
        return adopted

    def ready(self) -> None:
        """The listeners are there. A master that replaces another one leaves the pid file to it for now."""
        # Of systemd's sockets only this is left to know: they are handed on like our own, since gunicorn has
        # moved them away from the descriptors where systemd's protocol would look.
        self.systemd = False
        if not self.master_pid:
            self._write_pid_file()

    # --- reload -------------------------------------------------------------------------------------------

    def handle_hup(self) -> None:
        """HUP: new workers with the settings and the code of now, if those are fit to run."""
        self.log.info("Hang up: %s", self.master_name)
        if self.reexec_pid:
            # New workers of ours would be told to end as soon as the new master serves.
            self.log.error("An upgrade is under way; reload when it is over")
            return
        fault = self._check()
        if not fault:
            fault = self._reload()
        if fault:
            self.log.error("Reload refused; the router goes on as it is:\n%s", fault)
            self.note("reload refused", fault, is_fault=True)
        else:
            self.log.info("Reloaded: %s", self._changed)
            self.note("reloaded", f"The router has taken up code and settings: {self._changed}.")
        self._note_change(fault)

    def note(self, word: str, text: str, is_fault: bool = False) -> None:
        """Puts down what has happened to the router itself."""
        event = Event(time.time(), word, text, "warns" if is_fault else "ok")
        if fault := EventFile(Path(self.state_file).with_name("events.jsonl")).append(event):
            self.log.error("%s", fault)

    def _check(self) -> str:
        """What would keep a worker from booting now; "" when nothing would."""
        command = [sys.executable, "-P", "-m", "app.cli.preflight", *filter(None, [self.cfg.config])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_TIMEOUT_S, env=environment)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"

    def _reload(self) -> str:
        """Takes up settings and code, and starts to replace the workers; returns a fault or ""."""
        settings = self.app.cfg
        # What the master has imported of us would otherwise stay, in each worker, the code of before.
        code = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "app"}
        try:
            self.app.reload()
            fault = moved(self.pid_file.address, ", ".join(self.app.cfg.bind)) or self._take_up()
        except SystemExit:  # what gunicorn does about a settings file that it cannot use
            fault = f"{settings.config} cannot be used"
        if fault:
            self.app.cfg = settings
            sys.modules.update(code)
            self.setup(self.app)
            return fault
        self._outdated_age = self.worker_age
        self._changed = _changes(code["app"], sys.modules["app"])
        return ""

    def _take_up(self) -> str:
        """Makes the settings that are loaded those of this master; returns what is against it, or ""."""
        try:
            self.setup(self.app)
            self.log.reopen_files()
            self.cfg.on_reload(self)
        except Exception as error:  # the hooks are those of another release, this object is of the one before
            return f"{error!r}: a master of before cannot run this release; {ROUTER_PROGRAM} upgrade starts a new one"
        return ""

    # --- upgrade ------------------------------------------------------------------------------------------

    def handle_usr2(self) -> None:
        """USR2: starts a new master beside this one, unless this one is itself still taking over."""
        self.maybe_promote_master()
        if self.master_pid:
            self._note_change("The last upgrade is not over: the old router still finishes its requests")
        else:
            super().handle_usr2()

    def reexec(self) -> None:
        """Starts the new master. In the child this does not return."""
        ours = os.getpid()
        self._choose_start()
        hand_on(self.cfg.env_orig, self.pid_file, self.state_file, self.last_good)
        try:
            with signals_kept_waiting():
                super().reexec()
        except Exception as error:  # gunicorn would end the workers for it, from within the child as well
            fault = f"The new master cannot be started: {error}"
            self.log.error(fault)
            if os.getpid() != ours:
                os._exit(1)
            self._note_change(fault)

    def _choose_start(self) -> None:
        """The next master is started as this one was, or as the command says that asks for it."""
        self.START_CTX.update(self._start)
        if (start := read_start(self.pid_file.path)) is not None:
            self.START_CTX.update({0: start.arguments[0], "args": start.arguments, "cwd": start.directory})
            self.cfg.env_orig["PYTHONPATH"] = start.python_path

    def reap_workers(self) -> None:
        """Buries the dead, a new master that has given up among them."""
        successor = self.reexec_pid
        try:
            super().reap_workers()
        finally:
            if successor and not self.reexec_pid:
                self._note_failed_upgrade(successor)

    def maybe_promote_master(self) -> None:
        """In a new master beside an old one: takes over when it serves, gives up when it does not in time."""
        if not self.master_pid:
            return
        super().maybe_promote_master()
        if not self.master_pid:
            self._write_pid_file()  # the old one is gone, by whatever way
        elif self._has_taken_over:
            return
        elif sum(map(serves, self.WORKERS.values())) >= self.num_workers:
            self._take_over()
        elif time.monotonic() > self._gives_up_at:
            raise HaltServer(f"The new workers did not serve within {UPGRADE_TIMEOUT_S:g} s", 1)

    def _take_over(self) -> None:
        try:
            self.pid_file.write(to_older=True)  # first, so that whoever looks for the router finds the one that stays
        except OSError as error:  # the old one would take our signal for somebody's who wants an end of both
            raise HaltServer(f"{self.pid_file.path} cannot be written: {error.strerror}", 1) from error
        self._has_taken_over = True
        self.log.info("Taking over from the master with pid %s", self.master_pid)
        self.note("upgraded", f"A new router (pid {os.getpid()}) takes over from pid {self.master_pid}.")
        os.kill(self.master_pid, signal.SIGTERM)

    def handle_term(self) -> None:
        """TERM: from the new master, which has taken over; from anybody else, the end of both."""
        if self._has_successor():
            systemd.sd_notify(f"MAINPID={self.reexec_pid}", self.log)
            self._is_replaced = True
        elif self.reexec_pid:
            os.kill(self.reexec_pid, signal.SIGTERM)
        elif self._has_taken_over and self.master_pid == os.getppid():
            os.kill(self.master_pid, signal.SIGTERM)  # it may wait for a pause that is not to be waited for now
        super().handle_term()

    # --- the end ------------------------------------------------------------------------------------------

    def stop(self, graceful: bool = True) -> None:
        """Ends the workers, and with them the router unless another master serves in its place."""
        if graceful and self._is_replaced:
            graceful = self._let_workers_end()
        for worker in self.WORKERS.values():
            raise_flag(worker.tmp, WorkerFlag.IS_LAST)
        # By then gunicorn kills, and a worker has waited for as long before it says its last words.
        self.cfg.set("graceful_timeout", self.cfg.graceful_timeout + CUTTING_S + 1)
        super().stop(graceful)

    def _let_workers_end(self) -> bool:
        """Waits until the workers have ended, each within the time that it takes for itself, or we are hurried.

        Returns False when that was a signal not to end gracefully.
        """
        sock.close_sockets(self.LISTENERS, False)  # whoever outlives us must not keep our port open
        self.LISTENERS = []
        self.kill_workers(signal.SIGTERM)
        while self.WORKERS:
            with contextlib.suppress(queue.Empty):
                number = self.SIG_QUEUE.get(timeout=_END_LOOK_S)
                if number in ENDING:
                    return bool(number == signal.SIGTERM)
            self.murder_workers()
            self.reap_workers()
        return True

    def _note_failed_upgrade(self, successor: int) -> None:
        fault = f"The new master (pid {successor}) ended before it served"
        self.log.error("Upgrade failed; the router goes on as it is. %s", fault)
        self.note("upgrade failed", fault, is_fault=True)
        self._note_change(fault)

    def _has_successor(self) -> bool:
        """Whether the new master has taken over."""
        return bool(self.reexec_pid and self.pid_file.owner() == self.reexec_pid)

    def _note_change(self, fault: str) -> None:
        if self._has_successor():
            return  # the file is the new master's: by it a signal to end is known as coming from there
        self.pid_file.changes += 1
        self.pid_file.fault = fault
        self._write_pid_file()

    def _write_pid_file(self) -> None:
        """Says who the router is; where the disk is full or read-only it serves without, and says so in its log."""
        try:
            self.pid_file.write()
        except OSError as error:
            lost = "the commands that stop and reload the router do not find it"
            self.log.error("%s cannot be written (%s): %s", self.pid_file.path, error.strerror, lost)

    def move_files(self, pid_path: Path, state_file: str) -> None:
        """After a reload, which may have moved the state file, and the pid file with it."""
        if pid_path != self.pid_file.path:
            self.pid_file.remove()
            self.pid_file.path = pid_path
        if state_file != self.state_file:  # the last good state is one of the file of before
            self.state_file = state_file
            self.last_good = LastGood.shared()


def _changes(before: Any, after: Any) -> str:
    """Which settings a reload has changed, in words; both are the package `app`, each of its own release."""
    try:
        found = after.loaded_settings.changes_since(before.loaded_settings)
    except Exception as error:  # between two releases that have nothing in common, say; it is no reason to stop
        return f"what has changed cannot be told ({error!r})"
    return ", ".join(found) or "no setting has changed"
