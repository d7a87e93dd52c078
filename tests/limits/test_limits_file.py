"""The file of the limits: who makes it, who may use it, what it keeps, and what several processes count in it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tracemalloc
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import monotonic, monotonic_ns, sleep

import pytest

from app.limits import limits_map as at
from app.limits.counts import LimitCounts, figures_of, refused_keys
from app.limits.in_flight import InFlight
from app.limits.key_hash import KeyHash
from app.limits.limits_file import LimitsFile, open_limits, read_limits
from app.limits.limits_map import H
from app.limits.rate import MOST_LIMITS, Rate
from app.limits.rate_cells import RateCells
from app.settings.tables.limit_settings import LimitConfig

SPAWN = multiprocessing.get_context("spawn")
S = 10**9
NAMES = ("login", "exports")


OPEN: list[LimitsFile] = []


def opened(path: Path) -> LimitsFile:
    """The file, until the test ends."""
    file = open_limits(path)
    OPEN.append(file)
    return file


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "router_limits.mmap"


@pytest.fixture
def file(path: Path) -> LimitsFile:
    return opened(path)


def in_flight_of(path: Path) -> InFlight:
    return InFlight(opened(path))


# --- the file ---------------------------------------------------------------------------------------------


def test_file_is_private_and_of_fixed_size(file: LimitsFile, path: Path) -> None:
    assert path.stat().st_size == at.FILE_BYTES
    assert path.stat().st_mode & 0o077 == 0
    assert file.fault == ""


def test_each_process_has_a_slot_of_its_own_which_the_next_takes_over(file: LimitsFile, path: Path) -> None:
    other = opened(path)
    assert (file.slot, other.slot) == (0, 1)
    other.close()
    assert opened(path).slot == 1


def test_who_comes_later_counts_on(file: LimitsFile, path: Path) -> None:
    rate = Rate.parse("2/m")
    assert [RateCells(file.words).hit(7, rate, 0, S) <= 0 for _ in range(3)] == [True, True, False]

    assert RateCells(opened(path).words).hit(7, rate, 0, S) > 0
    assert opened(path).secret == file.secret != bytes(16)


@pytest.mark.parametrize("word", ["magic", "layout_version", "boot_id_low"])
def test_file_of_another_release_or_boot_is_made_anew(path: Path, word: str) -> None:
    old = opened(path)
    RateCells(old.words).hit(7, Rate.parse("1/h"), 0, S)
    old.words[H[word]] += 1

    assert RateCells(opened(path).words).hit(7, Rate.parse("1/h"), 0, S) <= 0


@pytest.mark.parametrize("content", [b"", b"something else", bytes(at.FILE_BYTES)])
def test_what_is_no_such_file_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_limits(path) is None
    assert opened(path).fault == ""
    assert path.stat().st_size == at.FILE_BYTES


def test_without_a_folder_to_write_in_each_worker_counts_for_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    alone = opened(tmp_path / "file" / "router_limits.mmap")

    assert "each worker for itself" in alone.fault
    assert RateCells(alone.words).hit(7, Rate.parse("1/h"), 0, S) <= 0
    assert read_limits(tmp_path / "none") is None and read_limits(tmp_path / "file" / "x") is None


def test_reader_sees_what_is_counted(file: LimitsFile, path: Path) -> None:
    counts = LimitCounts(file.words, file.slot, NAMES)
    counts.count(1, 2)

    reader = read_limits(path)
    assert reader is not None
    assert [figures.refused for figures in figures_of(reader.words, NAMES)] == [0, 1]
    reader.close()


# --- rates ------------------------------------------------------------------------------------------------


def test_most_idle_key_gives_way(file: LimitsFile) -> None:
    cells, rate = RateCells(file.words), Rate.parse("2/m", 2)
    keys = [7 + number * at.RATE_SETS for number in range(at.RATE_WAYS + 1)]  # of one set
    for number, key in enumerate(keys):
        assert cells.hit(key, rate, 0, (number + 1) * S) <= 0

    words = file.words[at.RATES_AT : at.RATES_AT + at.RATE_SETS * at.RATE_WAYS * 2].tolist()
    assert keys[0] not in words
    assert all(key in words for key in keys[1:])


def test_place_that_was_torn_neither_opens_nor_closes_for_good(file: LimitsFile) -> None:
    cells, rate = RateCells(file.words), Rate.parse("2/m", 2)
    cells.hit(7, rate, 0, S)
    place = file.words.tolist().index(7, at.RATES_AT)

    for torn in (0, 2**63, 2**64 - 1):
        file.words[place + 1] = torn
        assert [cells.hit(7, rate, 0, 100 * S) <= 0 for _ in range(3)] == [True, True, False]
    assert cells.hit(7, rate, 0, 131 * S) <= 0


def _hit_for_a_while(path: Path, start: Barrier, results: multiprocessing.Queue[int]) -> None:
    file = opened(path)
    cells, rate = RateCells(file.words), Rate.parse("100/s", 10)
    start.wait(30)
    until, passed = monotonic() + 2, 0
    while monotonic() < until:
        passed += cells.hit(7, rate, 0, monotonic_ns()) <= 0
    results.put(passed)


def test_several_processes_let_the_rate_through_together(path: Path) -> None:
    workers = 4
    start, results = SPAWN.Barrier(workers + 1), SPAWN.Queue()
    ours = [SPAWN.Process(target=_hit_for_a_while, args=(path, start, results)) for _ in range(workers)]
    for process in ours:
        process.start()
    start.wait(30)
    began = monotonic()
    passed = sum(results.get(timeout=30) for _ in ours)
    took = monotonic() - began
    for process in ours:
        process.join(30)

    # They do nothing but ask, so they often meet in the microsecond in which each may pass.
    assert 100 <= passed <= (100 * took + 10) * workers / 2


# --- in flight --------------------------------------------------------------------------------------------


def test_key_has_so_many_at_once_over_all_processes(path: Path) -> None:
    one, other = in_flight_of(path), in_flight_of(path)
    places = [one.enter(7, 3), other.enter(7, 3), one.enter(7, 3)]

    assert min(places) > 0
    assert one.enter(7, 3) == other.enter(7, 3) == -1
    assert one.enter(8, 3) > 0
    one.leave(places[0])
    assert other.enter(7, 3) > 0
    assert one.enter(7, 3) == -1


def test_worker_without_a_place_for_one_more_key_lets_it_pass(path: Path) -> None:
    table = in_flight_of(path)
    keys = [7 + number * at.IN_FLIGHT_SETS for number in range(at.IN_FLIGHT_WAYS + 1)]

    assert [table.enter(key, 1) > 0 for key in keys] == [True] * at.IN_FLIGHT_WAYS + [False]
    assert table.enter(keys[-1], 1) == 0
    assert table.enter(keys[0], 1) == -1


def _enter_and_hang(path: Path, entered: multiprocessing.Queue[int]) -> None:
    table = in_flight_of(path)
    for _ in range(3):
        entered.put(table.enter(7, 3))
    sleep(60)


def test_what_a_killed_process_had_in_flight_counts_no_more(path: Path) -> None:
    table, entered = in_flight_of(path), SPAWN.Queue()
    process = SPAWN.Process(target=_enter_and_hang, args=(path, entered))
    process.start()
    assert all(entered.get(timeout=30) > 0 for _ in range(3))
    assert table.enter(7, 3) == -1

    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(30)

    places = [table.enter(7, 3) for _ in range(4)]
    assert [place > 0 for place in places] == [True, True, True, False]


# --- figures ----------------------------------------------------------------------------------------------


def test_figures_are_those_of_all_slots_those_of_the_dead_included(path: Path) -> None:
    first, second = opened(path), opened(path)
    for file in (first, second):
        counts = LimitCounts(file.words, file.slot, NAMES)
        counts.count(0, 1)
        counts.count(1, 4)
    first.close()
    again = opened(path)
    LimitCounts(again.words, again.slot, NAMES).count(0, 1)

    login, exports = figures_of(second.words, NAMES)
    assert again.slot == 0
    assert (login.passed, exports.would_refuse) == (3, 2)


def test_figures_stay_with_the_name_of_a_limit(path: Path) -> None:
    file = opened(path)
    LimitCounts(file.words, file.slot, ("a", "b")).count(1, 1)
    LimitCounts(file.words, file.slot, ("b", "c")).count(1, 1)

    assert [one.passed for one in figures_of(file.words, ("c", "b", "a"))] == [1, 1, 0]


def test_limit_that_is_no_more_gives_way_where_there_is_no_other_room(path: Path) -> None:
    file = opened(path)
    names = [str(number) for number in range(MOST_LIMITS)]
    for number in range(MOST_LIMITS):
        LimitCounts(file.words, file.slot, names).count(number, 1)
    counts = LimitCounts(file.words, file.slot, [*names[1:], "new"])

    counts.count(MOST_LIMITS - 1, 1)

    assert [one.passed for one in figures_of(file.words, ("0", "1", "new"))] == [0, 1, 1]


def test_keys_that_were_refused_last_are_listed_once_each(path: Path) -> None:
    files = [opened(path), opened(path)]
    for now, file in enumerate(files, 1):
        counts = LimitCounts(file.words, file.slot, NAMES)
        counts.note_refused(0, 7, b"10.0.0.7", now)
        assert counts.note_again(7, now + 2)
        counts.note_refused(1, 8, b"x" * 200, now + 10)

    exports, login = refused_keys(files[0].words, NAMES, 4 + S)
    assert login == ("login", "10.0.0.7", 4, 1.0)
    assert (exports.limit, exports.key, exports.times) == ("exports", "x" * at.REFUSED_TEXT_BYTES, 2)


def test_list_of_refused_keys_keeps_the_last(path: Path) -> None:
    file = opened(path)
    counts = LimitCounts(file.words, file.slot, NAMES)
    for number in range(at.REFUSED_ROWS + 5):
        if number == at.REFUSED_ROWS // 2:  # the next one is a worker that has taken the slot over
            counts = LimitCounts(file.words, file.slot, NAMES)
        assert number < 2 or counts.note_again(1, number)
        counts.note_refused(0, number, b"%d" % number, number + 1)

    found = refused_keys(file.words, NAMES, S)
    assert len(found) == at.REFUSED_ROWS
    assert found[0].key == str(at.REFUSED_ROWS + 4)
    keys = {one.key: one.times for one in found}
    assert "5" not in keys and keys["1"] == at.REFUSED_ROWS + 4
    assert not counts.note_again(5, S)


def test_worker_knows_a_key_whose_place_was_lost(file: LimitsFile) -> None:
    cells, rate = RateCells(file.words), Rate.parse("2/m", 2)
    cells.hit(7, rate, 0, S)
    cells.hit(7, rate, 0, S)
    file.words[at.RATES_AT + 7 * at.RATE_WAYS * 2] = 0

    assert cells.hit(7, rate, 0, S) > 0
    assert RateCells(file.words).hit(7, rate, 0, S) > 0  # and has put it back


def test_worker_does_not_remember_keys_without_end(file: LimitsFile) -> None:
    cells, rate = RateCells(file.words), Rate.parse("1/m", 1)
    for key in range(1, 10_000):
        assert cells.hit(key, rate, 0, S) <= 0
    assert cells.hit(9_999, rate, 0, S) > 0


def test_time_of_a_key_can_be_set_and_given_back(file: LimitsFile) -> None:
    cells, rate = RateCells(file.words), Rate.parse("2/m", 2)
    assert cells.put(7, 61 * S) == 0
    assert cells.hit(7, rate, 0, S) > 0
    assert cells.put(7, 0) == 61 * S
    assert cells.hit(7, rate, 0, S) <= 0


def test_long_keys_that_anybody_can_invent_take_no_memory() -> None:
    hashing = KeyHash(bytes(16), LimitConfig(name="api", rate="1/s", key=("header:X-Api-Key",)))
    tracemalloc.start()
    try:
        hashes = {hashing.of(b"%060000d" % number) for number in range(200)}
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(hashes) == 200
    assert held < 1_000_000
