from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.deploy.receipt import Account, Receipt, Tally, settle_account

BEFORE = Tally(ended=100, in_flight=3, cut=1, failed=5, held=2, held_ms=100.0, retried=4)


def test_the_difference_of_two_tallies_is_the_account() -> None:
    after = Tally(ended=110, in_flight=2, cut=2, failed=8, held=4, held_ms=160.0, retried=5)
    assert settle_account(BEFORE, after) == Account(
        started=12, finished=9, cut=1, in_flight=2, failed=3, held=2, held_mean_ms=30.0, retried=1
    )


def test_metrics_that_were_begun_anew_give_no_account() -> None:
    assert settle_account(BEFORE, replace(BEFORE, ended=4)) is None


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
    assert account.balances
    assert (account.finished, account.cut, account.in_flight) == (ended, cut, in_flight)


def test_the_history_keeps_plain_figures() -> None:
    account = settle_account(BEFORE, BEFORE)
    assert account is not None
    kept = Receipt({"blue": account}, 1.23456, 0.5, ("GET /a for 1.0 s",)).as_json()
    assert kept["duration_s"] == 1.235
    assert kept["remaining"] == ["GET /a for 1.0 s"]
    assert Receipt({}, 1.0).as_json()["drain_s"] is None
