"""A container without an engine: an image's files as the root, read-only, and its command as the first process.

Namespaces of its own for mounts, processes and the network, and an overlay over this machine's files, which stands in
for the base image.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.support.waiting import wait_until

__all__ = ["Container", "missing"]

BOOT = Path(__file__).with_name("container_boot.sh")
NAMESPACES = ("--mount", "--pid", "--net")
PROGRAMS = ("unshare", "nsenter", "setpriv", "chroot", "ip")


def missing() -> str:
    """Why there can be no container here; "" when there can."""
    if os.geteuid() != 0:
        return "only root can make a container's root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    done = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "mount", "-t", "tmpfs", "probe", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces can be made: {done.stderr.strip()}" if done.returncode else ""


class Container:
    """One that runs, as a context manager.

    Args:
        folder: an empty one, for the root and the log.
        project: what the image has in /opt/traffic-router.
        volume: the directory that can be written, beside /tmp and /dev/shm.
        uid: the number of its user and its group.
        environ: list of `NAME=value`.
    """

    def __init__(
        self, folder: Path, project: Path, *, volume: str, uid: int, environ: Sequence[str], command: Sequence[str]
    ) -> None:
        self._log, self._uid, self._environ = folder / "container.log", uid, environ
        (folder / "room").mkdir()
        (project / ".venv").mkdir()
        boot = ["sh", str(BOOT), str(folder / "room"), str(project), sys.prefix, volume, str(uid), *environ, *command]
        self._command = ["setpriv", "--pdeathsig=KILL", "unshare", *NAMESPACES, "--fork", "--kill-child", *boot]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            wait_until(self._has_begun, "the command in its root", 20)
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}\n{self.output}") from error
        return self

    def _has_begun(self) -> bool:
        """Whether the root is made and the command runs as its user, or is over."""
        with contextlib.suppress(ValueError, psutil.NoSuchProcess):
            return self.first().uids().real == self._uid
        return self.process.poll() is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def output(self) -> str:
        """All that was printed inside."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def first(self) -> psutil.Process:
        """The first process inside; it is what `docker stop` sends the signal to."""
        [process] = psutil.Process(self.process.pid).children()
        return process

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, as the container's user: what `docker exec` does."""
        enter = ["nsenter", f"--target={self.first().pid}", "--mount", "--pid", "--net", "--root"]
        user = ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups"]
        inside = [
            *enter,
            *user,
            "env",
            "-i",
            "--chdir=/opt/traffic-router",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            *self._environ,
            *command,
        ]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)

    def wait_for(self, *command: str, deadline_s: float = 60.0) -> str:
        """What a command prints, once it ends with 0."""

        said = ""

        def printed() -> str:
            nonlocal said
            assert self.process.poll() is None, self.output
            done = self.run(*command)
            said = done.stdout + done.stderr
            return "" if done.returncode else done.stdout

        try:
            return wait_until(printed, " ".join(command), deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{said}\n{self.output}") from error
