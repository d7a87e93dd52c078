"""Sending again: only what the application cannot have executed, or what may be executed twice."""

from __future__ import annotations

import pytest

from app.protocol.retry import IDEMPOTENT, may_send_again


@pytest.mark.parametrize(
    ("method", "body_consumed", "has_written", "has_heard", "again"),
    [
        pytest.param(b"GET", False, True, False, True, id="idempotent-written"),
        pytest.param(b"GET", False, False, False, True, id="idempotent-not-written"),
        pytest.param(b"GET", False, True, True, False, id="idempotent-answer-begun"),
        pytest.param(b"PUT", False, True, False, True, id="idempotent-body-still-here"),
        pytest.param(b"PUT", True, True, False, False, id="idempotent-body-gone"),
        pytest.param(b"POST", False, False, False, True, id="post-not-written"),
        pytest.param(b"POST", False, True, False, False, id="post-one-byte-written"),
        pytest.param(b"POST", True, False, False, False, id="post-body-gone"),
        pytest.param(b"PATCH", False, True, False, False, id="patch-written"),
        pytest.param(b"LOCK", False, True, False, False, id="lock-written"),
        pytest.param(b"MADEUP", False, True, False, False, id="unknown-written"),
        pytest.param(b"get", False, True, False, False, id="methods-are-case-sensitive"),
    ],
)
def test_may_be_sent_again(method: bytes, body_consumed: bool, has_written: bool, has_heard: bool, again: bool) -> None:
    assert may_send_again(method, body_consumed, has_written, has_heard) is again


@pytest.mark.parametrize("method", sorted(IDEMPOTENT), ids=bytes.decode)
def test_idempotent_method_may_be_written_twice(method: bytes) -> None:
    assert may_send_again(method, False, True, False)


def test_methods_that_change_something_each_time_are_not_idempotent() -> None:
    assert not IDEMPOTENT & {b"POST", b"PATCH", b"LOCK", b"CONNECT"}
