from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.deploy.record.receipt import MOST_IDS, Receipt, VersionReceipt, settle_account
from app.deploy.traffic import Tally
from app.metrics.histogram import BUCKETS, bucket_index
from app.metrics.snapshot import Streams

BEFORE = Tally(ended=100, in_flight=3, cut=1, failed=5, held=2, held_ms=100.0, retried=4)


def test_the_difference_of_two_tallies_is_the_account() -> None:
    after = Tally(ended=110, in_flight=2, cut=2, failed=8, held=4, held_ms=160.0, retried=5)
    assert settle_account(BEFORE, after) == VersionReceipt(
        started=12, finished=9, cut=1, in_flight=2, failed=3, held=2, held_mean_ms=30.0, held_max_ms=0.0, retried=1
    )


def holds(*held_us: int) -> dict[str, Any]:
    """What a tally says about these holds."""
    counts = [0] * BUCKETS
    for us in held_us:
        counts[bucket_index(us)] += 1
    longest_ms = max(held_us, default=0) / 1000
    return {"held": len(held_us), "held_ms": sum(held_us) / 1000, "longest_held_ms": longest_ms, "held_counts": counts}


@given(st.lists(st.integers(0, 200_000_000), max_size=5), st.lists(st.integers(0, 130_000_000), min_size=1, max_size=5))
def test_the_longest_hold_is_never_too_short_and_at_most_a_32nd_too_long(earlier: list[int], later: list[int]) -> None:
    before, after = (BEFORE._replace(**holds(*held)) for held in (earlier, earlier + later))
    account = settle_account(before, after)
    assert account is not None and account.held_max_ms is not None
    longest_ms = max(later) / 1000
    if max(later) > max(earlier, default=0):
        assert account.held_max_ms == longest_ms
    assert longest_ms <= account.held_max_ms <= longest_ms * (1 + 1 / 32)
    assert Receipt({"blue": account}, 1.0).longest_hold_ms == account.held_max_ms


def test_streams_are_told_by_their_ends() -> None:
    account = settle_account(
        BEFORE._replace(streams=Streams(1, 2, 3)), BEFORE._replace(ended=110, streams=Streams(4, 2, 5))
    )
    assert account is not None
    assert account.streams == Streams(handed_over=3, finished=0, cut=2)
    kept = Receipt({"blue": account}, 1.0).as_json()["versions"]
    assert isinstance(kept, dict) and kept["blue"]["streams"] == {"handed_over": 3, "finished": 0, "cut": 2}


def test_without_a_hold_there_is_no_longest_one() -> None:
    account = settle_account(BEFORE._replace(**holds(5000)), BEFORE._replace(**holds(5000)))
    assert account is not None
    assert (account.held, account.held_max_ms, Receipt({"blue": account}, 1.0).longest_hold_ms) == (0, None, None)


def test_the_list_of_cut_requests_is_bounded() -> None:
    after = BEFORE._replace(ended=BEFORE.ended + 500, cut=BEFORE.cut + 500)
    account = settle_account(BEFORE, after, [f"id-{number}" for number in range(500)])
    assert account is not None
    assert (account.cut, len(account.cut_ids), account.cut_ids[0]) == (500, MOST_IDS, "id-0")


def test_metrics_that_were_begun_anew_give_no_account() -> None:
    assert settle_account(BEFORE, BEFORE._replace(ended=4)) is None


counts = st.integers(0, 10_000)


@given(counts, counts, counts, counts, counts)
def test_the_books_balance(ended: int, in_flight: int, cut: int, held: int, retried: int) -> None:
    after = Tally(
        ended=BEFORE.ended + ended + cut,
        in_flight=in_flight,
        cut=BEFORE.cut + cut,
        failed=BEFORE.failed + cut,
        held=BEFORE.held + held,
        held_ms=BEFORE.held_ms + held,
        retried=BEFORE.retried + retried,
    )
    account = settle_account(BEFORE, after)
    assert account is not None
    assert account.started == account.finished + account.cut + account.in_flight
    assert (account.finished, account.cut, account.in_flight) == (ended, cut, in_flight)


def test_the_history_keeps_plain_figures() -> None:
    account = settle_account(BEFORE, BEFORE)
    assert account is not None
    kept = Receipt({"blue": account}, 1.23456, 0.5, ("GET /a for 1.0 s",)).as_json()
    assert kept["duration_s"] == 1.235
    assert kept["remaining"] == ["GET /a for 1.0 s"]
    assert Receipt({}, 1.0).as_json()["drain_s"] is None
