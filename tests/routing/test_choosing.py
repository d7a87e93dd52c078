"""The choice of a backend: the least busy, each in turn, and the same one for the same key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.address import Backend
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead, RequestParser
from app.routing.choosing import BOUND, chooser_of

WEIGHTS = st.lists(st.integers(1, 9), min_size=2, max_size=16)
KINDS = ["least", "round-robin", "hash:client"]


def backends(weights: list[int]) -> list[Backend]:
    return [Backend.parse(f"10.0.0.{number}:80 weight={weight}") for number, weight in enumerate(weights, 1)]


def chooser(balance: str, weights: list[int]) -> Callable[[Sequence[int], Sequence[int], bytes], int]:
    choose = chooser_of(balance, backends(weights))[0]
    shares = None if len(set(weights)) == 1 else [float(weight) for weight in weights]
    return lambda in_flight, usable, key: choose(in_flight, usable, shares, key)


def head(lines: bytes) -> RequestHead:
    return RequestParser(100).parse(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")


def shares(
    choose: Callable[[Sequence[int], Sequence[int], bytes], int], count: int, times: int, key: bytes = b""
) -> Counter[int]:
    """How often each is chosen while nothing is in flight."""
    return Counter(choose([0] * count, range(count), key) for _ in range(times))


@given(WEIGHTS, st.sampled_from(KINDS), st.data())
def test_only_usable_ones_are_chosen(weights: list[int], balance: str, data: st.DataObject) -> None:
    choose, count = chooser(balance, weights), len(weights)
    for _ in range(20):
        in_flight = data.draw(st.lists(st.integers(0, 30), min_size=count, max_size=count))
        usable = data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True).map(sorted))
        assert choose(in_flight, usable, data.draw(st.sampled_from([b"", b"a", b"b"]))) in usable


@given(st.lists(st.integers(0, 9), min_size=2, max_size=16))
def test_least_takes_one_that_has_least_to_do(in_flight: list[int]) -> None:
    count = len(in_flight)
    assert in_flight[chooser("least", [1] * count)(in_flight, range(count), b"")] == min(in_flight)


@pytest.mark.parametrize("usable", [[0, 1, 2, 3], [0, 2, 3]])
def test_idle_ones_are_taken_in_turn(usable: list[int]) -> None:
    choose = chooser("least", [1, 1, 1, 1])
    found = Counter(choose([0] * 4, usable, b"") for _ in range(400))
    assert set(found) == set(usable)
    assert max(found.values()) - min(found.values()) <= 1


def test_least_fills_by_weight() -> None:
    choose, in_flight = chooser("least", [1, 3]), [0, 0]
    for _ in range(40):
        in_flight[choose(in_flight, [0, 1], b"")] += 1
    assert in_flight == [10, 30]


@given(WEIGHTS)
def test_round_robin_gives_each_its_share_exactly(weights: list[int]) -> None:
    total = sum(weights)
    found = shares(chooser("round-robin", weights), len(weights), 3 * total)
    assert [found[one] for one in range(len(weights))] == [3 * weight for weight in weights]


def test_round_robin_spreads_evenly() -> None:
    choose = chooser("round-robin", [1, 5])
    turns = [choose([0, 0], [0, 1], b"") for _ in range(6)]
    assert "".join(map(str, turns)) in {"111011", "110111"}, "not all five of one at once"


def test_same_key_has_the_same_backend_and_another_order_of_its_own() -> None:
    choose = chooser("hash:client", [1] * 5)
    keys = [b"key %d" % number for number in range(300)]
    first = {key: choose([0] * 5, range(5), key) for key in keys}
    assert {key: choose([0] * 5, range(5), key) for key in keys} == first
    without = {key: choose([0] * 5, [0, 1, 2, 3], key) for key in keys}
    moved = {key for key in keys if first[key] != without[key]}
    assert moved == {key for key in keys if first[key] == 4}, "only those that the one had which is gone"
    assert set(Counter(without[key] for key in moved)) == {0, 1, 2, 3}, "and they do not all go to one"


def test_hash_follows_the_weights() -> None:
    choose = chooser("hash:client", [1, 3])
    found = Counter(choose([0, 0], [0, 1], b"%d" % number) for number in range(4000))
    assert 2800 < found[1] < 3200


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.binary(min_size=1, max_size=8))
def test_no_key_overloads_its_backend(in_flight: list[int], key: bytes) -> None:
    count = len(in_flight)
    one = chooser("hash:client", [1] * count)(in_flight, range(count), key)
    assert in_flight[one] + 1 <= max(1, BOUND * (sum(in_flight) + 1) / count) or in_flight[one] == min(in_flight)


@pytest.mark.parametrize(
    ("balance", "lines", "key"),
    [
        ("hash:client", b"", b"192.0.2.9"),
        ("hash:cookie=sid", b"Cookie: a=b; sid=77; sid=88\r\n", b"77"),
        ("hash:cookie=sid", b"Cookie: a=b\r\nCookie: sid=78\r\n", b"78"),
        ("hash:cookie=sid", b"Cookie: xsid=1\r\n", b""),
        ("hash:header=X-Tenant", b"x-tenant: acme\r\n", b"acme"),
        ("hash:header=X-Tenant", b"", b""),
    ],
)
def test_key_is_what_the_request_carries(balance: str, lines: bytes, key: bytes) -> None:
    _, key_of = chooser_of(balance, backends([1, 1]))
    assert key_of is not None
    assert key_of(head(lines), Forwarding(b"192.0.2.9", b"http", 5004, 0)) == key


@pytest.mark.parametrize("balance", ["least", "round-robin"])
def test_others_look_at_no_request(balance: str) -> None:
    assert chooser_of(balance, backends([1, 1]))[1] is None
