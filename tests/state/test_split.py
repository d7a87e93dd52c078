from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.operator_errors import StateError
from app.state.codec import decode, encode
from app.state.model import BlueGreenState, promote, with_split, without_split
from app.state.split import COOKIES_LAST_S, WHOLE, Split

BLUE = promote(BlueGreenState(), "blue", 1.0)
SPLIT = Split("green", 500, 1000.0, "r42", "cookie", (20.0, 95.5))


def test_a_split_by_hand_needs_a_version_a_weight_and_an_end() -> None:
    state = decode(b'{"active_version": "blue", "split": {"canary": "green", "weight": 100, "until": 1795449320}}')
    assert state.split == Split("green", 100, 1795449320)
    assert state.split.sticky == "off"
    assert state.split.as_json()["weight"] == 100


def test_a_weight_counts_as_nothing_once_its_time_is_over() -> None:
    assert [SPLIT.weight_at(now) for now in (0.0, 999.9, 1000.0, 2000.0)] == [500, 500, 0, 0]


@pytest.mark.parametrize(("sticky", "field"), [("header:X-User-Id", "x-user-id"), ("cookie", ""), ("off", "")])
def test_clients_are_told_apart_by_the_field_that_is_named(sticky: str, field: str) -> None:
    assert replace(SPLIT, sticky=sticky).field == field


def test_a_file_with_a_split_is_refused_by_who_would_overlook_it() -> None:
    assert json.loads(encode(with_split(BLUE, SPLIT)))["schema"] == 2
    assert json.loads(encode(BLUE))["schema"] == 1


def test_without_a_split_the_file_says_nothing_of_it() -> None:
    assert not {"split", "split_cookies_until"} & json.loads(encode(BLUE)).keys()


def test_a_split_ends_with_a_word_or_with_a_switch() -> None:
    state = with_split(BLUE, SPLIT)
    assert state.serial == BLUE.serial + 1
    for ended in (without_split(state, 2000.0), promote(state, "green", 2000.0), promote(state, "blue", 2000.0)):
        assert ended.split is None
        assert ended.serial == state.serial + 1


def test_how_long_browsers_keep_its_cookies_is_known_after_its_end() -> None:
    ended = without_split(with_split(BLUE, SPLIT), 2000.0)
    assert ended.split_cookies_until == 2000.0 + COOKIES_LAST_S
    assert decode(encode(ended)).split_cookies_until == ended.split_cookies_until
    assert promote(ended, "green", 3000.0).split_cookies_until == ended.split_cookies_until
    assert promote(ended, "green", 1e9).split_cookies_until is None
    assert without_split(with_split(BLUE, replace(SPLIT, sticky="off")), 2000.0).split_cookies_until is None


FAULTS = {
    "no object": ([], "split is not a JSON object"),
    "no version": ({"canary": "red"}, "split.canary is 'red'; expected the version that is not active"),
    "no name": ({"canary": None}, "split.canary is None"),
    "the active version": ({"canary": "blue"}, "split.canary is 'blue', which is the active version"),
    "more than all": ({"weight": 10001}, "split.weight is 10001; expected a whole number of hundredths of a per cent"),
    "less than nothing": ({"weight": -1}, "split.weight is -1"),
    "a share": ({"weight": 0.5}, "split.weight is 0.5"),
    "a weight that is true": ({"weight": True}, "split.weight is True"),
    "without end": ({"until": None}, "split.until is None; expected a time in seconds"),
    "a long salt": ({"salt": "é" * 33}, "expected a text of at most 64 bytes"),
    "a salt that is a number": ({"salt": 7}, "split.salt is 7"),
    "another way": ({"sticky": "ip"}, "split.sticky is 'ip'; expected off, cookie, client or header:NAME"),
    "a field without a name": ({"sticky": "header:"}, "split.sticky is 'header:'"),
    "a field's name with a blank": ({"sticky": "header:a b"}, "split.sticky is 'header:a b'"),
    "sticky is null": ({"sticky": None}, "split.sticky is None"),
    "one time": ({"slow_ms": [20]}, "split.slow_ms is [20]; expected two times above 0 in milliseconds, or null"),
    "no time": ({"slow_ms": [0, 9]}, "split.slow_ms is [0, 9]"),
    "an unknown key": ({"wait": 5}, "split.wait: the keys are canary, weight, until, salt, sticky, slow_ms"),
}


@pytest.mark.parametrize(("wrong", "why"), FAULTS.values(), ids=FAULTS)
def test_a_split_that_means_nothing_is_refused_with_the_reason(wrong: object, why: str) -> None:
    good = {"canary": "green", "weight": 500, "until": 1000}
    split = {**good, **wrong} if isinstance(wrong, dict) else wrong
    with pytest.raises(StateError) as caught:
        decode(json.dumps({"active_version": "blue", "split": split}).encode())
    assert why in str(caught.value)


@given(
    st.integers(0, WHOLE),
    st.floats(0, 1e12),
    st.text(max_size=16),
    st.sampled_from(["off", "cookie", "client", "header:X-User", "header:a!#$%&'*+.^_`|~"]),
    st.none() | st.tuples(st.floats(0.001, 1e6), st.floats(0.001, 1e6)),
)
def test_every_split_survives_the_file(
    weight: int, until: float, salt: str, sticky: str, slow_ms: tuple[float, float] | None
) -> None:
    state = with_split(BLUE, Split("green", weight, until, salt, sticky, slow_ms))
    assert decode(encode(state)) == state
