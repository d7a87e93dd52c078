"""The file that all workers of a machine count limits in: made whole, checked before use, replaced when it is no good.

It keeps what was counted over reloads, upgrades and deaths of workers, and loses it with a restart of the machine,
whose clock begins anew. As with the metrics, every byte is there before it is mapped (`app.metrics.file`).
"""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from app.limits import limits_map as at
from app.limits.limits_map import H
from app.metrics.file import alone_in, boot_id, make_whole
from app.metrics.locks import ByteLocks, claim_byte

__all__ = ["LimitsFile", "open_limits", "read_limits"]


class LimitsFile(NamedTuple):
    """The mapped file, and the slot of it that this process writes, as long as it lives.

    Attributes:
        words: all of it.
        locks: hold the slot; None for who only reads.
        asking: sees whether others hold theirs.
        slot: -1 for who only reads.
        fault: why the figures are this process's alone; "" when all is well.
    """

    words: memoryview[int]
    locks: ByteLocks | None
    asking: ByteLocks | None
    slot: int
    fault: str

    @property
    def secret(self) -> bytes:
        """The key of the hash of keys."""
        return bytes(self.words[H["secret_high"] : H["secret_low"] + 1].cast("B"))

    def close(self) -> None:
        """Gives the slot up: what it counts as in flight is nothing from then on."""
        for locks in (self.locks, self.asking):
            if locks is not None:
                locks.close()


def open_limits(path: Path) -> LimitsFile:
    """The file for writing, made or replaced when there is no usable one; never raises.

    What cannot be done ends in memory of this process's own, and in a `fault` that says what is wrong.
    """
    try:
        with alone_in(path.parent):
            fd, memory = _attached(path) or make_whole(path, at.FILE_BYTES, _write_header)
            try:
                return _claimed(fd, memory)
            finally:
                os.close(fd)
    except OSError as error:
        return _in_memory(f"limits are counted by each worker for itself, not in {path}: {error.strerror or error}")


def read_limits(path: Path) -> LimitsFile | None:
    """The file to read from; None where there is none that is of use."""
    try:
        found = _attached(path)
    except OSError:
        return None
    if found is None:
        return None
    os.close(found[0])
    return LimitsFile(memoryview(found[1]).cast("Q"), None, None, -1, "")


def _attached(path: Path) -> tuple[int, mmap.mmap] | None:
    """The file under a name, open and mapped; None where it is not one of these. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(fd).st_size == at.FILE_BYTES:
            memory = mmap.mmap(fd, at.FILE_BYTES)
            if _identity(memory) == (at.MAGIC, at.LAYOUT_VERSION, *boot_id()):
                return fd, memory
            memory.close()
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _identity(memory: mmap.mmap) -> tuple[int, ...]:
    with memoryview(memory) as view, view.cast("Q") as words:
        return tuple(words[: H["boot_id_low"] + 1].tolist())


def _claimed(fd: int, memory: mmap.mmap) -> LimitsFile:
    """With the lowest free slot. What its last owner counted stays, what he had in flight does not."""
    path = f"/proc/self/fd/{fd}"
    locks = ByteLocks(path)
    words = memoryview(memory).cast("Q")
    for slot in range(at.SLOTS):
        if locks.take(claim_byte(slot)):
            begin = (at.slot_at(slot) + at.IN_FLIGHT_AT) * at.WORD
            memory[begin : begin + _IN_FLIGHT_BYTES] = bytes(_IN_FLIGHT_BYTES)
            words[H["used_slots"]] = max(words[H["used_slots"]], slot + 1)
            return LimitsFile(words, locks, ByteLocks(path, may_take=False), slot, "")
    locks.close()
    return _in_memory(f"limits are counted by this worker for itself: all {at.SLOTS} places are taken")


_IN_FLIGHT_BYTES = at.IN_FLIGHT_SETS * at.IN_FLIGHT_WAYS * 2 * at.WORD


def _in_memory(fault: str) -> LimitsFile:
    memory = mmap.mmap(-1, at.FILE_BYTES)
    fd = os.memfd_create("router-limits-locks")
    try:
        _write_header(memory)
        return _claimed(fd, memory)._replace(fault=fault)
    finally:
        os.close(fd)


def _write_header(memory: mmap.mmap) -> None:
    with memoryview(memory) as view, view.cast("Q") as words:
        words[H["layout_version"]] = at.LAYOUT_VERSION
        words[H["boot_id_high"]], words[H["boot_id_low"]] = boot_id()
        words[H["secret_high"]], words[H["secret_low"]] = (secrets.randbits(64) for _ in range(2))
        words[H["magic"]] = at.MAGIC
