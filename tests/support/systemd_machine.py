"""A real systemd in namespaces of its own: its processes, files, network and control groups are not the machine's.

Its root is the machine's with all changes in memory; `systemd_boot.sh` builds it. Nothing is left when it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.router_process import ROOT
from tests.support.waiting import wait_until

__all__ = ["HOME", "SystemdMachine", "missing"]

BOOT = Path(__file__).with_name("systemd_boot.sh")
SYSTEMD = Path("/lib/systemd/systemd")
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
HOME = "/opt/traffic-router"
"""Where the units expect the project."""

_NOT_INSTALLED = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench", "build")
_NEWNET = 0x40000000


def missing() -> str:
    """Why no systemd can be run here; "" when one can."""
    if os.geteuid() != 0:
        return "only root can start a systemd of its own"
    for program in ("unshare", "nsenter", "setpriv", "pivot_root", "useradd"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not SYSTEMD.exists():
        return "systemd is not installed (Debian: systemd)"
    try:
        with _control_group("probe") as group:
            probe = ["unshare", *NAMESPACES, "--fork", "mount", "-t", "tmpfs", "probe", "/mnt"]
            done = subprocess.run(probe, capture_output=True, text=True, preexec_fn=lambda: _enter(group))
    except OSError as error:
        return f"no control group can be made: {error}"
    return f"no namespaces can be made: {done.stderr.strip()}" if done.returncode else ""


class SystemdMachine:
    """A booted systemd and the project in its /opt/traffic-router, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self.pid = 0

    def __enter__(self) -> SystemdMachine:
        project, room = self._folder / "project", self._folder / "room"
        shutil.copytree(ROOT, project, ignore=_NOT_INSTALLED, symlinks=True)
        (project / ".venv").mkdir()
        room.mkdir()
        with self._stack as stack:
            group = stack.enter_context(_control_group("systemd"))
            boot = ["sh", str(BOOT), str(room), str(project), sys.prefix]
            command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child", *boot]
            log_file = self._folder / "boot.log"
            with log_file.open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: _enter(group))
            stack.callback(self._end, process)
            try:
                self.pid = wait_until(lambda: _child(process.pid), "systemd's process", 20)
                wait_until(self._has_booted, "systemd's boot", 40)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{log_file.read_text()}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints that is run in the machine, by root in the router's home; it has to succeed."""
        inside = ["nsenter", f"--target={self.pid}", *NAMESPACES, "--root", f"--wd=/proc/{self.pid}/root{HOME}"]
        environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(
            [*inside, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=60,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def path(self, path: str) -> Path:
        """Where a file of the machine is to be found from outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of the machine, in a folder that is made."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """In this block the calling thread, and what it starts, has the machine's network instead of ours."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{self.pid}/ns/net").open() as its:
            _set_network(its.fileno())
            try:
                yield
            finally:
                _set_network(ours.fileno())

    def _has_booted(self) -> bool:
        return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _child(pid: int) -> int:
    """The pid of a process' only child, once that has become systemd; 0 before."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
        return 0
    return int(children[0])


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text("0")


@contextlib.contextmanager
def _control_group(name: str) -> Iterator[Path]:
    """A control group of our own, version 2, where all that is started may have groups below."""
    with Path("/proc/mounts").open() as mounts:
        roots = [fields[1] for fields in map(str.split, mounts) if fields[2] == "cgroup2"]
    if not roots:
        raise OSError("no cgroup2 is mounted")
    own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    group = Path(roots[0]) / own.lstrip("/") / f"traffic-router-{name}-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    try:
        yield group
    finally:
        for folder, _, _ in os.walk(group, topdown=False):
            wait_until(lambda: _is_removed(Path(folder)), f"the end of all in {folder}")  # noqa: B023


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):  # still in use, by what is just ending
        group.rmdir()
    return not group.exists()
