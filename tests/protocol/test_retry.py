"""Sending again: only what the application cannot have executed, or what may be executed twice."""

from __future__ import annotations

import pytest

from app.protocol.retry import IDEMPOTENT, SAFE, has_surely_read, may_send_again


def again(
    method: bytes,
    *,
    reused: bool = False,
    times: int = 1,
    written: bool = True,
    gone: bool = False,
    heard: bool = False,
) -> bool:
    """The rule, for a request that was written once and not heard of unless said otherwise."""
    return may_send_again(
        method,
        is_reused=reused,
        times_written=times,
        has_written=written,
        body_consumed=gone,
        has_heard=heard,
    )


@pytest.mark.parametrize(
    "method", [*sorted(IDEMPOTENT), b"POST", b"PATCH", b"LOCK", b"MADEUP", b"get"], ids=bytes.decode
)
def test_what_may_be_written_twice(method: bytes) -> None:
    assert again(method, reused=True) is (method in IDEMPOTENT)
    assert again(method) is (method in SAFE)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"POST"], ids=bytes.decode)
def test_what_was_not_written_may_be_sent_again(method: bytes) -> None:
    assert again(method, times=0, written=False)
    assert again(method, times=2, written=False), "others may have had it: this one has not"


@pytest.mark.parametrize("reused", [True, False])
def test_nothing_is_written_three_times(reused: bool) -> None:
    assert not again(b"GET", reused=reused, times=2)


@pytest.mark.parametrize("written", [True, False])
def test_body_that_is_gone_or_an_answer_that_has_begun_ends_it(written: bool) -> None:
    assert not again(b"GET", reused=True, written=written, gone=True)
    assert not again(b"GET", reused=True, written=written, heard=True)


@pytest.mark.parametrize(
    ("body_bytes", "status", "is_read"),
    [(10, 200, True), (8192, 302, True), (8193, 200, False), (10, 405, False), (200_000, 413, False), (10, 500, False)],
)
def test_body_is_surely_read_when_it_is_small_and_welcome(body_bytes: int, status: int, is_read: bool) -> None:
    assert has_surely_read(body_bytes, status) is is_read


def test_methods_that_change_something_each_time_are_not_idempotent() -> None:
    assert not IDEMPOTENT & {b"POST", b"PATCH", b"LOCK", b"CONNECT"}
