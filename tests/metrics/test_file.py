"""The file's life: made, attached to, enlarged, replaced, left alone, or done without."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from app.errors import CAUSES
from app.metrics import file, layout
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from app.operator_errors import MetricsError
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock
from tests.support.mounts import mounted, needs_root


def record(metrics: SharedMetrics, clock: FakeClock, requests: int = 1) -> None:
    """A worker that lives long enough for some requests."""
    writer = metrics.claim_slot(os.getpid())
    count(writer, clock, requests)
    writer.close()


def count(writer: SlotWriter, clock: FakeClock, requests: int) -> None:
    for _ in range(requests):
        writer.finish(writer.start(0, b"GET", b"/", clock()), 0, status=200)


def requests_in(path: Path) -> int:
    reader = SharedMetrics.open(path)
    try:
        return reader.snapshot().overall.requests
    finally:
        reader.close()


def serves_in_memory(metrics: SharedMetrics, clock: FakeClock) -> None:
    """Whatever is wrong with the file: recording, reading and leading go on."""
    assert "metrics are kept in memory only" in metrics.fault
    record(metrics, clock, 3)
    snapshot = metrics.snapshot()
    assert snapshot.overall.requests == 3
    assert snapshot.fault == metrics.fault
    assert metrics.try_lead()
    metrics.fold()
    metrics.close()


def test_new_file_is_private_complete_and_of_the_promised_length(metrics: SharedMetrics, path: Path) -> None:
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert not path.parent.stat().st_mode & stat.S_IWOTH
    assert status.st_size == layout.file_bytes(4)
    assert status.st_blocks * 512 >= status.st_size  # no hole that a full disk could leave without a page
    assert list(path.parent.iterdir()) == [path]


def test_length_never_changes(metrics: SharedMetrics, path: Path, answer: Answer) -> None:
    before = path.stat().st_size
    for _ in range(1000):
        answer()
    assert path.stat().st_size == before


def test_figures_outlive_the_router(path: Path, clock: FakeClock) -> None:
    for total in (2, 4):
        metrics = SharedMetrics.create_or_attach(path, 4, clock)
        record(metrics, clock, 2)
        assert metrics.snapshot().overall.requests == total
        metrics.close()


def test_uptime_begins_when_no_router_was_running(path: Path, clock: FakeClock) -> None:
    first = SharedMetrics.create_or_attach(path, 4, clock)
    worker = first.claim_slot(os.getpid())
    clock.advance(5)
    upgraded = SharedMetrics.create_or_attach(path, 4, clock)
    assert upgraded.snapshot().uptime_s == 5.0
    worker.close()
    restarted = SharedMetrics.create_or_attach(path, 4, clock)
    assert restarted.snapshot().uptime_s == 0.0
    for metrics in (first, upgraded, restarted):
        metrics.close()


def test_more_workers_get_a_longer_file_with_the_same_figures(path: Path, clock: FakeClock) -> None:
    small = SharedMetrics.create_or_attach(path, 2, clock)
    record(small, clock, 5)
    large = SharedMetrics.create_or_attach(path, 6, clock)
    assert (large.slots, large.fault, large.snapshot().overall.requests) == (6, "", 5)
    assert large.snapshot(10).overall.requests == 5
    assert path.stat().st_size == layout.file_bytes(6)
    small.close()
    large.close()


def test_who_has_a_file_mapped_sees_the_slots_that_it_is_given(path: Path, clock: FakeClock) -> None:
    small, reader = SharedMetrics.create_or_attach(path, 2, clock), SharedMetrics.open(path, clock)
    writers = [small.claim_slot(os.getpid()) for _ in range(2)]
    assert small.try_lead()
    large = SharedMetrics.create_or_attach(path, 6, clock)
    writers += [large.claim_slot(os.getpid()) for _ in range(3)]
    for writer in writers:
        count(writer, clock, 1)
        writer.start(1, b"GET", b"/in-flight", clock())
    for metrics in (small, reader, large):
        assert (metrics.fault, metrics.live_slots(), metrics.in_flight("green")) == ("", 5, 5)
        assert (metrics.snapshot().versions["blue"].requests, len(metrics.in_flight_rows("green"))) == (5, 5)
    clock.advance(1)
    small.fold()
    assert large.history(2).versions["blue"].requests[-1] == 5
    writers.append(small.claim_slot(os.getpid()))  # as an old master does, of which a worker has died
    assert [writer.slot for writer in writers] == [0, 1, 2, 3, 4, 5]
    assert small.fault == ""
    for writer in writers:
        writer.close()
    for metrics in (small, reader, large):
        metrics.close()


@needs_root
def test_disk_without_room_for_more_slots_keeps_those_there_are(tmp_path: Path, clock: FakeClock) -> None:
    with mounted(tmp_path / "small", f"size={layout.file_bytes(2) + 65536}") as folder:
        before = SharedMetrics.create_or_attach(folder / "m.mmap", 2, clock)
        writer = before.claim_slot(os.getpid())
        count(writer, clock, 3)
        after = SharedMetrics.create_or_attach(folder / "m.mmap", 6, clock, before.mapped)
        second = after.claim_slot(os.getpid())
        count(second, clock, 2)
        assert (after.slots, after.fault, after.snapshot().overall.requests) == (2, "", 5)
        assert "all 2 slots" in (after.claim_slot(os.getpid()), after.fault)[1]
        writer.close()
        second.close()
        before.close()
        after.close()


def test_fewer_workers_keep_the_longer_file(metrics: SharedMetrics, path: Path, clock: FakeClock) -> None:
    other = SharedMetrics.create_or_attach(path, 1, clock)
    assert other.slots == 4
    other.close()


@pytest.mark.parametrize("change", ["layout", "boot"])
def test_outdated_file_is_replaced_and_its_workers_finish_on_it(
    metrics: SharedMetrics,
    answer: Answer,
    path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    if change == "layout":
        monkeypatch.setattr(layout, "CAUSES", (*CAUSES, "new_cause"))
    else:
        monkeypatch.setattr(file, "boot_id", lambda: (1, 2))
    renewed = SharedMetrics.create_or_attach(path, 4, clock)
    assert renewed.fault == ""
    record(renewed, clock)
    answer()
    answer()
    assert metrics.snapshot().overall.requests == 2
    assert "removed or replaced" in metrics.fault
    assert requests_in(path) == 1
    renewed.close()


@pytest.mark.parametrize("spoil", ["shortened", "emptied"])
def test_damaged_file_is_replaced(path: Path, clock: FakeClock, spoil: str) -> None:
    SharedMetrics.create_or_attach(path, 4, clock).close()
    os.truncate(path, 0 if spoil == "emptied" else 10_000)
    with pytest.raises(MetricsError, match="empty" if spoil == "emptied" else "shorter"):
        SharedMetrics.open(path)
    renewed = SharedMetrics.create_or_attach(path, 4, clock)
    assert (renewed.fault, path.stat().st_size) == ("", layout.file_bytes(4))
    renewed.close()


@pytest.mark.parametrize("content", [b"my precious notes", b"x" * 5_000_000])
def test_foreign_file_is_left_alone(path: Path, clock: FakeClock, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    metrics = SharedMetrics.create_or_attach(path, 4, clock)
    assert "not a metrics file of this router" in metrics.fault
    serves_in_memory(metrics, clock)
    assert path.read_bytes() == content


def test_something_other_than_a_file_is_left_alone(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    serves_in_memory(SharedMetrics.create_or_attach(path, 4, clock), clock)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_folder_that_is_none_is_done_without(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("")
    serves_in_memory(SharedMetrics.create_or_attach(tmp_path / "file" / "m.mmap", 4, clock), clock)


def test_file_too_large_to_be_made_is_done_without(path: Path, clock: FakeClock) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        metrics = SharedMetrics.create_or_attach(path, 4, clock)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in metrics.fault
    assert list(path.parent.iterdir()) == []
    serves_in_memory(metrics, clock)


@needs_root
def test_full_disk_is_done_without(tmp_path: Path, clock: FakeClock) -> None:
    with mounted(tmp_path / "small", "size=1m") as folder:
        metrics = SharedMetrics.create_or_attach(folder / "m.mmap", 4, clock)
        assert "No space left" in metrics.fault
        assert list(folder.iterdir()) == []
        serves_in_memory(metrics, clock)


@needs_root
def test_disk_that_fills_up_later_does_no_harm(tmp_path: Path, clock: FakeClock) -> None:
    with mounted(tmp_path / "small", f"size={layout.file_bytes(4) + 65536}") as folder:
        metrics = SharedMetrics.create_or_attach(folder / "m.mmap", 4, clock)
        writer = metrics.claim_slot(os.getpid())
        with pytest.raises(OSError, match="No space left"), open(folder / "filler", "wb", 0) as filler:
            while True:
                filler.write(bytes(4096))
        count(writer, clock, 100)
        metrics.try_lead()
        for _ in range(layout.SECOND_CELLS):  # every page of the ring
            clock.advance(1)
            metrics.fold()
        assert (metrics.fault, metrics.snapshot().overall.requests) == ("", 100)
        writer.close()
        metrics.close()


@needs_root
def test_read_only_folder_is_done_without(tmp_path: Path, clock: FakeClock) -> None:
    with mounted(tmp_path / "fixed", "ro") as folder:
        metrics = SharedMetrics.create_or_attach(folder / "m.mmap", 4, clock)
        assert "Read-only file system" in metrics.fault
        serves_in_memory(metrics, clock)


def test_reader_needs_a_file_and_says_where_it_looked(path: Path) -> None:
    with pytest.raises(MetricsError, match="router_metrics.mmap: No such file") as caught:
        SharedMetrics.open(path)
    assert "start the router" in caught.value.hint


def test_reader_cannot_write(metrics: SharedMetrics, path: Path) -> None:
    reader = SharedMetrics.open(path)
    with pytest.raises(TypeError, match="read-only"):
        reader._words[0] = 1
    reader.close()


@pytest.mark.parametrize("replaced_by", [None, b"somebody else's" * 1000])
def test_worker_stays_with_the_others_when_the_file_was_deleted(
    metrics: SharedMetrics, path: Path, clock: FakeClock, replaced_by: bytes | None
) -> None:
    record(metrics, clock, 2)
    path.unlink()
    if replaced_by is not None:
        path.write_bytes(replaced_by)
    record(metrics, clock, 3)
    assert metrics.snapshot().overall.requests == 5
    assert "removed or replaced" in metrics.fault
    assert path.exists() == (replaced_by is not None)


@pytest.mark.parametrize(("slots", "is_other_map", "requests"), [(4, False, 2), (5, False, 0), (4, True, 0)])
def test_reload_without_a_file_keeps_what_fits(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, slots: int, is_other_map: bool, requests: int
) -> None:
    path.mkdir(parents=True)
    before = SharedMetrics.create_or_attach(path, 4, clock)
    record(before, clock, 2)
    if is_other_map:
        monkeypatch.setattr(layout, "ROWS", layout.ROWS * 2)
    after = SharedMetrics.create_or_attach(path, slots, clock, before.mapped)
    before.close()
    assert after.snapshot().overall.requests == requests
    assert after.slots == slots
    assert after.live_slots() == 0
    after.close()


def test_worker_without_a_slot_serves_uncounted(metrics: SharedMetrics, clock: FakeClock) -> None:
    writers = [metrics.claim_slot(os.getpid()) for _ in range(metrics.slots + 1)]
    assert [writer.slot for writer in writers[:-1]] == [0, 1, 2, 3]
    assert "all 4 slots" in metrics.fault
    count(writers[-1], clock, 5)
    assert metrics.snapshot().overall.requests == 0
    for writer in writers:
        writer.close()


def test_worker_that_cannot_open_the_locks_serves_uncounted(
    metrics: SharedMetrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_files(path: str, flags: int) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", no_more_files)
        record(metrics, clock)
        assert not metrics.try_lead()
    assert "Too many open files" in metrics.fault


def test_boot_id_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.boot_id() != (0, 0)

    def unreadable(path: Path) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert file.boot_id() == (0, 0)
