"""Lines in batches: whole ones, none lost while they can be kept, and what is lost is counted and said once."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest

from app.operator_errors import ConfigError
from app.proxy.request_log.line_file import LineFile
from app.proxy.request_log.outlet import Outlet, open_outlet
from tests.support.waiting import wait_until

LINE = json.dumps({"text": "x" * 100}) + "\n"


class Noted:
    """What a log says of its losses."""

    def __init__(self) -> None:
        self.lost = 0
        self.is_fault = False

    def count_lost_lines(self, count: int) -> None:
        self.lost += count

    def say_log_fault(self, is_fault: bool) -> None:
        self.is_fault = is_fault


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def standing_for(descriptor: int) -> SimpleNamespace:
    """A standard output."""
    return SimpleNamespace(fileno=lambda: descriptor)


def whole(text: str) -> int:
    """How many lines there are, each of which is whole."""
    lines = text.splitlines(keepends=True)
    assert set(lines) <= {LINE}
    return len(lines)


def test_lines_wait_for_the_flush(path: Path, noted: Noted) -> None:
    log = LineFile(str(path), noted)
    log.add(LINE)
    assert path.read_text() == ""
    log.flush()
    log.flush()
    assert path.read_text() == LINE


def test_full_batch_does_not_wait(path: Path, noted: Noted) -> None:
    log = LineFile(str(path), noted)
    for _ in range(1000):
        log.add(LINE)
    assert whole(path.read_text()) > 500


def test_end_leaves_nothing_and_later_lines_do_not_wait(path: Path, noted: Noted) -> None:
    log = LineFile(str(path), noted)
    log.add(LINE)
    log.finish(1)
    log.add(LINE)
    assert whole(path.read_text()) == 2


def test_lines_before_a_reopening_are_in_the_old_file(path: Path, noted: Noted) -> None:
    log = LineFile(str(path), noted)
    log.add(LINE)
    path.rename(path.with_suffix(".1"))
    log.reopen()
    log.add(LINE)
    log.flush()
    assert whole(path.with_suffix(".1").read_text()) == whole(path.read_text()) == 1


def test_failed_reopening_goes_on_in_the_old_file(path: Path, noted: Noted) -> None:
    log = LineFile(str(path), noted)
    path.rename(path.with_suffix(".1"))
    path.mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        log.reopen()
    log.add(LINE)
    log.flush()
    assert whole(path.with_suffix(".1").read_text()) == 1


# --- a full disk ----------------------------------------------------------------------------------------------

_LIMITED = """
import logging, resource, sys
from app.proxy.request_log.line_file import LineFile
from tests.proxy.request_log.test_line_file import LINE, Noted, whole
from pathlib import Path

path, noted = Path(sys.argv[1]), Noted()
log = LineFile(str(path), noted)
room = 10 * len(LINE) + 50
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
for _ in range(30):
    log.add(LINE)
log.flush()
assert whole(path.read_text()) == 10, "half a line is taken back"
assert noted.is_fault and noted.lost == 0, "the others wait"
resource.setrlimit(resource.RLIMIT_FSIZE, (room + 3 * len(LINE), resource.RLIM_INFINITY))
log.flush()
assert whole(path.read_text()) == 13
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.flush()
assert whole(path.read_text()) == 30
assert not noted.is_fault and noted.lost == 0
print("well")
"""


def test_file_at_its_limit_keeps_whole_lines_and_gets_the_others_later(path: Path) -> None:
    """In a process of its own, whose files may have so many bytes; SIGXFSZ is ignored by Python itself."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout == "well\n", done.stderr
    assert done.stderr.count("cannot be written: File too large") == 1
    assert "is written again; 0 lines were lost" in done.stderr


def test_what_does_not_fit_into_memory_is_lost_and_counted_and_said_once(
    noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    log = LineFile("/dev/full", noted)
    for _ in range(20_000):
        log.add(LINE)
    assert noted.is_fault
    kept = (1 << 20) // len(LINE)
    assert 0 < 20_000 - noted.lost - kept < 1200
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    log.finish(0)
    assert noted.lost == 20_000


def test_half_a_line_that_cannot_be_taken_back_is_ended_before_anything_else(
    path: Path, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LineFile(str(path), noted)
    parts = [7, None]

    def write(outlet: Outlet, data: bytes, begin: int) -> int:
        size = parts.pop(0) if parts else len(data)
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(outlet.descriptor, data[begin : begin + size])

    monkeypatch.setattr(Outlet, "write", write)
    monkeypatch.setattr(Outlet, "take_back", lambda outlet, size: False)
    for _ in range(3):
        log.add(LINE)
    log.flush()
    assert path.read_text() == LINE[:7]
    log.flush()
    assert whole(path.read_text()) == 3


def test_nothing_is_taken_back_where_others_have_written_behind_it(path: Path) -> None:
    ours, theirs = open_outlet(str(path)), open_outlet(str(path))
    ours.write(b"half", 0)
    theirs.write(b"whole\n", 0)
    assert not ours.take_back(4)
    assert theirs.take_back(6)
    assert path.read_bytes() == b"half"
    ours.close()
    theirs.close()


# --- pipes and sockets ----------------------------------------------------------------------------------------


@pytest.fixture
def on_pipe(pipe: tuple[int, int], noted: Noted, monkeypatch: pytest.MonkeyPatch) -> LineFile:
    """A log on standard output, which is a pipe."""
    monkeypatch.setattr(sys, "stdout", standing_for(pipe[1]))
    return LineFile("-", noted)


def test_slow_reader_keeps_nobody_waiting_and_gets_every_line(
    on_pipe: LineFile, pipe: tuple[int, int], noted: Noted
) -> None:
    for _ in range(5000):
        on_pipe.add(LINE)
    on_pipe.flush()
    assert noted.lost == 0
    received = b""

    def read() -> bool:
        nonlocal received
        gevent.sleep(0.001)
        received += os.read(pipe[0], 1 << 16)
        return received.count(b"\n") == 5000

    wait_until(read, "all lines")
    assert whole(received.decode()) == 5000


def test_reader_that_never_reads_costs_lines_in_the_end(on_pipe: LineFile, noted: Noted) -> None:
    for _ in range(20_000):
        on_pipe.add(LINE)
    began = time.monotonic()
    on_pipe.finish(0.1)
    assert time.monotonic() - began < 5
    assert noted.is_fault
    assert 20_000 - noted.lost <= (1 << 16) / len(LINE) + 1, "what the pipe holds was written"


def test_others_on_the_same_pipe_still_wait_for_the_reader(on_pipe: LineFile, pipe: tuple[int, int]) -> None:
    assert on_pipe.is_narrow
    assert os.get_blocking(pipe[1])


def test_line_that_a_pipe_would_cut_is_lost(on_pipe: LineFile, noted: Noted) -> None:
    on_pipe.add("x" * 4096 + "\n")
    assert noted.lost == 1


def test_reader_that_is_gone_costs_lines_and_no_worker(
    noted: Noted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdout", standing_for(writing))
    log = LineFile("-", noted)
    os.close(reading)
    log.add(LINE)
    log.finish(0)
    os.close(writing)
    assert noted.lost == 1
    assert "Broken pipe" in caplog.text


def test_socket_such_as_the_journals_is_not_made_non_blocking(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    with near, far:
        monkeypatch.setattr(sys, "stdout", standing_for(near.fileno()))
        log = LineFile("-", noted)
        for _ in range(100):
            log.add(LINE)
        log.flush()
        assert os.get_blocking(near.fileno())
        received = b""
        while received.count(b"\n") < 100:
            received += far.recv(1 << 16)
        assert whole(received.decode()) == 100


def test_lines_of_several_processes_do_not_mix_in_a_pipe(pipe: tuple[int, int]) -> None:
    code = (
        "import os, sys; from app.proxy.request_log.line_file import LineFile\n"
        "from tests.proxy.request_log.test_line_file import LINE, Noted\n"
        "log = LineFile('-', Noted())\n"
        "for _ in range(3000): log.add(LINE)\n"
        "log.finish(30)"
    )
    root = Path(__file__).parents[3]
    writers = [subprocess.Popen([sys.executable, "-c", code], stdout=pipe[1], cwd=root) for _ in range(2)]
    received = b""
    while received.count(b"\n") < 6000:
        received += os.read(pipe[0], 1 << 16)
    assert [writer.wait(30) for writer in writers] == [0, 0]
    assert whole(received.decode()) == 6000


def test_named_pipe_without_a_reader_is_told_at_the_start(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="No such device"):
        open_outlet(str(path))
