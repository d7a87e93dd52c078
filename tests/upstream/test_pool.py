"""The pool: bounded, last used first, and without connections that the version has closed."""

from __future__ import annotations

import gevent
import pytest

from app.errors import PoolExhausted, UpstreamConnectError, UpstreamConnectTimeout
from app.transport.deadlines import Deadlines
from app.upstream.upstream_connection import UpstreamConnection
from tests.support.fake_clock import FakeSeconds
from tests.support.raw_upstream import RawUpstream
from tests.support.waiting import wait_until
from tests.transport.loopback import closed_address, full_listener
from tests.upstream.sessions import TrackedPool


def pool_of(port: int, size: int = 2, *, idle_s: float = 60, connecting_s: float = 10) -> TrackedPool:
    return TrackedPool(port, size, Deadlines(connecting_s), idle_s)


def exchange_on(connection: UpstreamConnection) -> None:
    """A request and its answer."""
    connection.endpoint.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Deadlines(10))
    assert connection.endpoint.read(Deadlines(10)).endswith(b"ok")


def wait_for_closing(connection: UpstreamConnection) -> None:
    """Lets the hub run until the pool has closed an idle connection."""
    wait_until(lambda: gevent.sleep(0.001) or connection.endpoint.closed, "the idle connection to be dropped")


def test_released_connection_is_used_again(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port)
    first = pool.acquire()
    assert not first.reused
    pool.release(first)
    assert pool.acquire() is first
    assert first.reused


def test_connection_in_use_is_not_given_twice(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port)
    assert pool.acquire() is not pool.acquire()


def test_connection_used_last_comes_first(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port)
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    assert [pool.acquire(), pool.acquire()] == [second, first]


def test_connection_is_doubtful_when_others_as_old_were_closed(
    upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that cannot be sent again would cross with the version's closing."""
    now = FakeSeconds()
    monkeypatch.setattr("app.upstream.pool.monotonic", now)
    pool = pool_of(upstream.port)

    def used(idle_s: float) -> UpstreamConnection:
        connection = pool.acquire()
        exchange_on(connection)
        pool.release(connection)
        now.now += idle_s
        return connection

    assert not pool.is_doubtful(used(60))
    closed = used(2)
    upstream.hang_up()
    wait_for_closing(closed)
    assert not pool.is_doubtful(used(1.7))
    assert pool.is_doubtful(used(1.9))
    assert pool.is_doubtful(used(3)), "it is open still, so it was no habit"
    assert not pool.is_doubtful(used(2))


def test_fresh_connection_is_never_one_that_was_used(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port)
    used = pool.acquire()
    pool.release(used)
    assert pool.acquire(fresh=True) is not used


def test_fresh_connection_takes_the_place_of_an_idle_one(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    used = pool.acquire()
    pool.release(used)
    assert not pool.acquire(fresh=True).reused
    assert used.endpoint.closed


def test_discarded_connection_is_closed_and_its_place_is_free(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    first = pool.acquire()
    pool.discard(first)
    pool.discard(first)
    assert first.endpoint.closed
    assert pool.acquire() is not first


def test_connection_is_not_kept_where_none_may_be_idle(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1, idle_s=0)
    first = pool.acquire()
    pool.release(first)
    assert first.endpoint.closed
    assert not pool.acquire().reused


def test_idle_connection_is_dropped_in_time(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, idle_s=0.02)
    idle = pool.acquire()
    pool.release(idle)
    wait_for_closing(idle)
    assert pool.acquire() is not idle


def test_connection_in_use_is_not_dropped_as_idle(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, idle_s=0.02)
    connection = pool.acquire()
    pool.release(connection)
    assert pool.acquire() is connection
    gevent.sleep(0.06)
    assert not connection.endpoint.closed


def test_idle_connection_that_the_version_closes_is_dropped(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port)
    idle = pool.acquire()
    exchange_on(idle)
    pool.release(idle)
    upstream.hang_up()
    wait_for_closing(idle)
    assert pool.acquire() is not idle


def test_idle_connection_on_which_the_version_speaks_unasked_is_dropped(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port)
    idle = pool.acquire()
    exchange_on(idle)
    pool.release(idle)
    upstream.only.send(b"HTTP/1.1 200 OK\r\n\r\n")
    wait_for_closing(idle)


def test_none_is_kept_for_a_version_that_ends(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 3)
    idle = [pool.acquire(), pool.acquire()]
    in_use = pool.acquire()
    for connection in idle:
        pool.release(connection)
    pool.keep_idle(False)
    assert [connection.endpoint.closed for connection in [*idle, in_use]] == [True, True, False]
    pool.release(in_use)
    assert in_use.endpoint.closed
    pool.keep_idle(True)
    pool.release(again := pool.acquire())
    assert pool.acquire() is again


def test_pool_without_idle_time_keeps_none_whatever_the_version_does(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, idle_s=0)
    pool.keep_idle(True)
    pool.release(one := pool.acquire())
    assert one.endpoint.closed


# --- all in use -----------------------------------------------------------------------------------------------


def test_connection_that_comes_free_goes_to_the_one_who_waits(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    first = pool.acquire()
    gevent.spawn(pool.release, first)
    assert pool.acquire() is first


def test_place_that_comes_free_goes_to_the_one_who_waits(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    first = pool.acquire()
    gevent.spawn(pool.discard, first)
    second = pool.acquire()
    assert second is not first
    pool.release(second)
    assert pool.acquire() is second


def test_who_waits_longest_goes_first(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    held = pool.acquire()
    order: list[str] = []

    def use(name: str) -> None:
        connection = pool.acquire()
        order.append(name)
        pool.release(connection)

    waiting = [gevent.spawn(use, name) for name in "abc"]
    gevent.sleep(0.01)
    pool.release(held)
    gevent.joinall(waiting, timeout=10, raise_error=True)
    assert order == ["a", "b", "c"]


def test_waiting_for_a_fresh_connection_ends_with_a_fresh_one(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    held = pool.acquire()
    gevent.spawn(pool.release, held)
    fresh = pool.acquire(fresh=True)
    assert not fresh.reused
    assert held.endpoint.closed


def test_pool_without_a_free_place_is_exhausted_in_time(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1, connecting_s=0.02)
    held = pool.acquire()
    with gevent.Timeout(10), pytest.raises(PoolExhausted, match="all 1 connections"):
        pool.acquire()
    pool.release(held)
    assert pool.acquire() is held


def test_who_gave_up_waiting_gets_nothing(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    held = pool.acquire()
    gone = gevent.spawn(pool.acquire)
    next_one = gevent.spawn(pool.acquire)
    gevent.sleep(0.01)
    gone.kill()
    pool.release(held)
    assert next_one.get(timeout=10) is held


@pytest.mark.parametrize("end_use", ["release", "discard"], ids=["connection", "place"])
def test_turn_of_one_who_is_stopped_at_that_moment_goes_to_the_next(end_use: str, upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, 1)
    held = pool.acquire()
    stopped = gevent.spawn(pool.acquire)
    next_one = gevent.spawn(pool.acquire)
    gevent.sleep(0.01)
    stopped.kill(block=False)  # runs before the turn that the next line hands over
    getattr(pool, end_use)(held)
    connection = next_one.get(timeout=10)
    assert (connection is held) == (end_use == "release")


# --- no connection --------------------------------------------------------------------------------------------


def test_refused_connection(upstream: RawUpstream) -> None:
    pool = pool_of(closed_address()[1], 1)
    for _ in range(2):  # a failed attempt keeps no place
        with pytest.raises(UpstreamConnectError, match="refused"):
            pool.acquire()


def test_unanswered_connection() -> None:
    with full_listener() as (_, port), pytest.raises(UpstreamConnectTimeout, match=r"within 0\.05 s"):
        pool_of(port, connecting_s=0.05).acquire()


def test_bound_holds_when_a_used_connection_is_handed_to_one_who_wants_a_fresh_one(upstream: RawUpstream) -> None:
    pool = pool_of(upstream.port, size=1)
    held = pool.acquire()
    got: list[UpstreamConnection] = []
    wants_fresh = gevent.spawn(lambda: got.append(pool.acquire(fresh=True)))
    wants_any = gevent.spawn(lambda: got.append(pool.acquire()))
    gevent.sleep(0)  # both begin to wait
    pool.release(held)
    wants_fresh.join(timeout=5)
    assert (len(got), got[0].reused, wants_any.dead) == (1, False, False)
    pool.release(got[0])
    wants_any.join(timeout=5)
    assert got[1] is got[0]
