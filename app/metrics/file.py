"""The file behind the shared metrics: made whole, checked before use, given more slots, replaced by rename.

A store into a page that a full disk cannot back, or behind the end of a file that someone shrank, is a
SIGBUS and kills the worker. So every byte is allocated before it is mapped (`posix_fallocate` reports a
full disk as an error), and the file never gets shorter. More slots are put behind the others, whoever may
have the shorter file mapped; the header's number of them says that they are there. A file of another map is
replaced by a new one under the same name: whoever still maps the old one finishes on it undisturbed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.metrics import layout
from app.metrics.layout import H, file_bytes
from app.metrics.locks import ByteLocks, alive_byte
from app.operator_errors import MetricsError

_MINIMUM_BYTES = layout.PAGE_WORDS * layout.WORD


class ForeignFile(MetricsError):
    """Something that is not ours lies at the path; it is left alone."""


class OutdatedFile(MetricsError):
    """A metrics file of ours, but of another map or an earlier boot: to be replaced."""


class MappedFile(NamedTuple):
    """A mapping and the open file it came from.

    `fd` is the file itself, or an empty one that only carries locks when the mapping is in memory (`fault`
    says why). It keeps the very file that is mapped reachable as `/proc/self/fd/<fd>`, whatever happens to
    the name.
    """

    memory: mmap.mmap
    fd: int
    slots: int
    fault: str

    @property
    def lock_path(self) -> str:
        """What to open for locks on this file, in this process or a forked child."""
        return f"/proc/self/fd/{self.fd}"

    def is_at(self, path: Path) -> bool:
        """Whether the mapped file is still the one under its name."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        ours = os.fstat(self.fd)
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def create_or_attach(path: Path, slots: int, before: MappedFile | None = None) -> MappedFile:
    """Maps the file for writing, making, lengthening or replacing it when needed; never raises.

    What cannot be done (full disk, read-only directory, a foreign file) ends in a mapping in memory, which
    forked workers share as they would the file, and in a `fault` that says what is wrong. Where workers
    already count in a mapping `before`, that one is used on rather than a new one in memory.
    """
    try:
        with alone_in(path.parent):
            return _attach_or_make(path, slots)
    except (OSError, MetricsError) as error:
        fault = f"metrics are kept in memory only, not in {path}: {_reason(error)}"
        if before is not None and _is_fit(before, slots):
            return MappedFile(before.memory, os.dup(before.fd), before.slots, fault)
        return in_memory(slots, fault)


def _is_fit(mapped: MappedFile, slots: int) -> bool:
    """Whether a mapping, perhaps of another release of this program, has this map and enough slots."""
    with memoryview(mapped.memory) as view, view.cast("Q") as words:
        return words[H["checksum"]] == layout.checksum() and mapped.slots >= slots


def open_for_reading(path: Path) -> MappedFile:
    """Maps an existing file read-only. Raises MetricsError when there is none, or none that can be read."""
    try:
        return _map(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), mmap.PROT_READ)
    except (OSError, MetricsError) as error:
        message = f"no metrics can be read from {path}: {_reason(error)}"
        raise MetricsError(message, "start the router, or name its file with metrics_file") from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def in_memory(slots: int, fault: str) -> MappedFile:
    """A mapping without a file, shared with children forked later; its locks live on an empty anonymous
    file.
    """
    memory = mmap.mmap(-1, file_bytes(slots))
    _write_header(memory, slots)
    return MappedFile(memory, os.memfd_create("router-metrics-locks"), slots, fault)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other processes from making or replacing the file meanwhile. Raises OSError."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # gevent's `os.close` closes a directory only when its loop comes round
        os.close(fd)


def _attach_or_make(path: Path, slots: int) -> MappedFile:
    try:
        mapped = _map(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK), mmap.PROT_READ | mmap.PROT_WRITE)
    except (FileNotFoundError, OutdatedFile):
        return _make(path, slots)
    return mapped if mapped.slots >= slots else _lengthened(mapped, slots)


def _lengthened(mapped: MappedFile, slots: int) -> MappedFile:
    """The same file with more slots; as it is where the disk has no room for them, so that what fits is counted."""
    try:
        os.posix_fallocate(mapped.fd, 0, file_bytes(slots))
    except OSError:
        return mapped
    mapped.memory.close()
    memory = mmap.mmap(mapped.fd, file_bytes(slots))
    with memoryview(memory) as view, view.cast("Q") as words:
        words[H["slots"]] = slots  # last of all: who sees it may map them
    return MappedFile(memory, mapped.fd, slots, "")


def followed(mapped: MappedFile) -> MappedFile:
    """A file that was given more slots since it was mapped, mapped anew to read from."""
    with memoryview(mapped.memory) as view, view.cast("Q") as words:
        slots = words[H["slots"]]
    memory = mmap.mmap(mapped.fd, file_bytes(slots), mmap.MAP_SHARED, mmap.PROT_READ)
    return MappedFile(memory, mapped.fd, slots, mapped.fault)


def has_live_slots(mapped: MappedFile) -> bool:
    """Whether any process writes into the file."""
    with ByteLocks(mapped.lock_path, may_take=False) as locks:
        return any(locks.is_held(alive_byte(slot)) for slot in range(mapped.slots))


def _map(fd: int, protection: int) -> MappedFile:
    """Maps an open file after checking that it is ours. Raises ForeignFile or OutdatedFile and closes it
    then.
    """
    try:
        slots = _slots_in(fd)
        memory = mmap.mmap(fd, file_bytes(slots), mmap.MAP_SHARED, protection)
    except BaseException:
        os.close(fd)
        raise
    return MappedFile(memory, fd, slots, "")


def _slots_in(fd: int) -> int:
    """The number of slots a file of ours has. Raises ForeignFile, OutdatedFile."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ForeignFile("it is not a regular file")
    if status.st_size == 0:
        raise OutdatedFile("it is empty")
    head = memoryview(os.pread(fd, _MINIMUM_BYTES, 0).ljust(_MINIMUM_BYTES, b"\0")).cast("Q")
    if head[H["magic"]] != layout.MAGIC:
        raise ForeignFile("it is not a metrics file of this router; move it away or set metrics_file")
    slots = head[H["slots"]]
    boot = (head[H["boot_id_high"]], head[H["boot_id_low"]])
    if (head[H["layout_version"]], head[H["checksum"]], boot) != (layout.LAYOUT_VERSION, layout.checksum(), boot_id()):
        raise OutdatedFile("it was written by another release of the router or before a restart of the machine")
    if status.st_size < file_bytes(slots):
        raise OutdatedFile("it is shorter than it says")
    return slots


def _make(path: Path, slots: int) -> MappedFile:
    """Builds a complete file at the path. Raises OSError."""
    fd, memory = make_whole(path, file_bytes(slots), lambda memory: _write_header(memory, slots))
    return MappedFile(memory, fd, slots, "")


def make_whole(path: Path, size: int, fill: Callable[[mmap.mmap], None]) -> tuple[int, mmap.mmap]:
    """Builds a file of that size beside the path, and puts it there in one step when it is filled in. Raises OSError.

    Only its owner may read it (`mkstemp` makes it so): what is in flight, and who was refused, is nobody else's affair.
    """
    import tempfile  # takes its time, and readers make no file

    path = Path(os.path.realpath(path))  # a link is followed, not replaced
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    draft = Path(name)
    try:
        os.posix_fallocate(fd, 0, size)
        memory = mmap.mmap(fd, size)
        fill(memory)
        os.rename(draft, path)
    except BaseException:
        os.close(fd)
        raise
    finally:
        draft.unlink(missing_ok=True)
    return fd, memory


def let_go_of_history(memory: mmap.mmap) -> None:
    """Takes the rings' pages out of this process's resident memory; their content stays in the mapped file.

    Second by second the leader would come to hold all six hours of them, and so would who has drawn them once.
    """
    begin, end = (
        -(-at * layout.WORD // mmap.PAGESIZE) * mmap.PAGESIZE for at in (layout.SECONDS_AT, layout.TALLIES_AT)
    )
    memory.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _write_header(memory: mmap.mmap, slots: int) -> None:
    """Fills in what identifies the file."""
    with memoryview(memory) as view, view.cast("Q") as words:
        words[H["layout_version"]] = layout.LAYOUT_VERSION
        words[H["checksum"]] = layout.checksum()
        words[H["slots"]] = slots
        words[H["boot_id_high"]], words[H["boot_id_low"]] = boot_id()
        words[H["created_at_us"]] = time.time_ns() // 1000
        words[H["magic"]] = layout.MAGIC


def boot_id() -> tuple[int, int]:
    """The machine's boot id as two words; (0, 0) where the kernel does not tell."""
    try:
        digits = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    except OSError:
        return 0, 0
    return int(digits[:16], 16), int(digits[16:], 16)
