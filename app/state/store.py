"""Writes the state file so that every reader sees the old state or the new one, and lets one command at a
time do it.

The file is replaced, never edited: a temporary file in the same folder, fsync, rename, fsync of the folder.
When any step fails (disk full, folder read-only) the old file is untouched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from app.command_line import PROGRAM
from app.operator_errors import LockBusy, StateError, StateMissing
from app.state.codec import decode, encode
from app.state.model import PORTS, BlueGreenState, versions_on

__all__ = ["Holder", "StateStore", "keep_last_good", "last_good_path", "mending", "repair_command", "replace_file"]


def repair_command() -> str:
    """What puts a broken state right."""
    return f"{PROGRAM} repair"


_LOCK_POLL_S = 0.05

FILE_MODE = 0o644
"""Readable for the router, which may run as another user than the one who deploys."""

FOLDER_MODE = 0o755


class Holder(NamedTuple):
    """The command that holds the lock, or did when it died."""

    pid: int
    command: str
    since: float

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})"


class StateStore:
    """The state file at `path` and the lock beside it; `folder` is where a deploy keeps its files.

    `ports` are those of the versions that have none in the file. `writer` is the id in the history of the command at
    work, which the state names as its last change; "" while there is none.
    """

    def __init__(self, path: str | os.PathLike[str], ports: Mapping[str, int] = PORTS) -> None:
        self.path = Path(path).absolute()
        self.ports = ports
        self.folder = self.path.parent
        self.writer = ""

    def read(self) -> BlueGreenState:
        """The state; raises `StateMissing` without a file and `StateError` for one that is no state file."""
        try:
            raw = self.raw()
        except FileNotFoundError as error:
            hint = repair_command() if last_good_path(self.path).exists() else f"{PROGRAM} start blue"
            raise StateMissing(f"there is no state file {self.path}", hint) from error
        except OSError as error:
            raise StateError(
                f"state file {self.path} cannot be read: {error.strerror}", mending(error, self.path)
            ) from error
        try:
            return decode(raw, self.ports)
        except StateError as error:
            raise StateError(f"state file {self.path} is not usable: {error}", repair_command()) from error

    def raw(self) -> bytes:
        """The file's bytes, whatever they are; raises `OSError`."""
        # Without waiting: it may be a FIFO by now.
        with open(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return file.read()

    def last_good(self) -> BlueGreenState | None:
        """The last good state, which is kept beside the file; None when there is none that can be used."""
        try:
            return decode(last_good_path(self.path).read_bytes(), self.ports)
        except (OSError, StateError):
            return None

    def keep_as_good(self) -> None:
        """Keep the file, which has just been read, as the last good state; only for who holds the lock."""
        with contextlib.suppress(OSError):
            keep_last_good(self.path, self.raw())

    def read_or_new(self) -> BlueGreenState:
        """The state, or the empty one before the first start; raises `StateError` as `read` does."""
        try:
            return self.read()
        except StateMissing:
            return BlueGreenState(versions=versions_on(self.ports))

    def write(self, state: BlueGreenState) -> None:
        """Replace the state file; raises `StateError`, and the old state is untouched, when that fails."""
        try:
            make_folder(self.folder)
            raw = encode(replace(state, changed_by=self.writer or state.changed_by))
            replace_file(self.path, raw)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StateError(
                f"state file {self.path} could not be written: {reason}; the old state stands",
                mending(error, self.path),
            ) from error
        keep_last_good(self.path, raw)

    @contextmanager
    def lock(
        self,
        command: str,
        wait_s: float = 0.0,
        on_wait: Callable[[Holder | None], None] = lambda holder: None,
    ) -> Iterator[Holder | None]:
        """Hold the deployment's lock; gives the holder that died with it, if one did, else None.

        Waits up to `wait_s` seconds, calling `on_wait` once when it begins to; raises `LockBusy` that names
        the holder after that. The kernel drops the lock of a process that dies, so a stale one cannot stay
        behind.
        """
        descriptor = self._open_lock()
        try:
            self._acquire(descriptor, wait_s, on_wait)
            stale = _read_holder(descriptor)
            _write_holder(descriptor, Holder(os.getpid(), command, time.time()))
            try:
                yield stale
            finally:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    @property
    def lock_path(self) -> Path:
        """Empty, or JSON that names the holder. Never removed, because others may be waiting on it."""
        return self.path.with_name(self.path.name + ".lock")

    def _open_lock(self) -> int:
        try:
            make_folder(self.folder)
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise StateError(
                f"lock file {self.lock_path} cannot be opened: {error.strerror}", mending(error, self.lock_path)
            ) from error
        _give_to_owner_of_folder(descriptor, self.folder)
        return descriptor

    def _acquire(self, descriptor: int, wait_s: float, on_wait: Callable[[Holder | None], None]) -> None:
        deadline = time.monotonic() + wait_s
        told = False
        while not _try_lock(descriptor):
            holder = _read_holder(descriptor)
            if time.monotonic() >= deadline:
                who = holder or "its name is not known yet"
                raise LockBusy(
                    f"another command is at work: {who}; waited {wait_s:g} s",
                    f"{PROGRAM} status",
                )
            if not told:
                on_wait(holder)
                told = True
            time.sleep(_LOCK_POLL_S)


def mending(error: OSError, path: Path) -> str:
    """The command that shows why the state file, or what lies beside it, could not be read or written."""
    folder = shlex.quote(str(path.parent))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"df -h {folder}   # and make room there"
    return f"ls -ld {folder} {shlex.quote(str(path))}   # whose are they, and may this user write there?"


def make_folder(folder: Path) -> None:
    """Make the folder and its parents; raises `OSError`."""
    if folder.is_symlink() and not folder.exists():
        raise FileNotFoundError(errno.ENOENT, f"{folder} is a link to {os.path.realpath(folder)}, which is not there")
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def last_good_path(path: Path) -> Path:
    """Where the last good state of a state file is kept: `bg_state.last_good.json`."""
    return path.with_name(f"{path.stem}.last_good{path.suffix}")


def keep_last_good(path: Path, raw: bytes, by: str = "") -> None:
    """Keep the bytes of a state file that was found good, or was just written, for the time when it is broken.

    Nothing hangs on it until then, so it is not flushed, and what keeps it from being written fails nobody. `by` tells
    the writers apart that may be at it at once.
    """
    kept = last_good_path(path)
    with contextlib.suppress(OSError):
        try:
            if kept.read_bytes() == raw:
                return
        except FileNotFoundError:
            pass
        replace_file(kept, raw, is_flushed=False, by=by)


def replace_file(path: Path, content: bytes, mode: int = FILE_MODE, *, is_flushed: bool = True, by: str = "") -> None:
    """Put a file with this content in place of `path`, or of what that leads to, all or nothing; raises `OSError`.

    The new file's time stamp is later than the old one's even within one tick of the kernel's clock, so
    that who compares time stamps cannot miss it.
    """
    path = Path(os.path.realpath(path))
    # One fixed name: what a command that was killed leaves behind is cleared away by the next one.
    temporary = path.with_name(f".{path.name}{by}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(descriptor, mode)  # whatever the umask: a router that cannot read it would not switch
            _write_all(descriptor, content)
            _give_to_owner_of_folder(descriptor, path.parent)
            now = max(time.time_ns(), _mtime_ns(path) + 1)
            os.utime(descriptor, ns=(now, now))
            if is_flushed:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if is_flushed:
        _sync_folder(path.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; a file system that cannot is no reason to fail a switch."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _give_to_owner_of_folder(descriptor: int, folder: Path) -> None:
    """A command that was run with sudo must not leave files which the usual user cannot open afterwards."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _try_lock(descriptor: int) -> bool:
    # flock, not lockf: a POSIX lock is dropped when the process closes any other descriptor of the file.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(descriptor: int) -> Holder | None:
    """Who the lock file names; None when it is empty or half written."""
    try:
        return Holder(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _write_holder(descriptor: int, holder: Holder) -> None:
    # A full disk must not keep anybody from switching: the lock holds without the name.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder._asdict()).encode(), 0)
