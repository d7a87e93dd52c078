from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.state.preview_token import sign, verify

KEY = "a secret of this deployment"


def test_a_token_shows_its_version_until_its_end() -> None:
    token = sign(KEY, "green", 1000.9)
    assert verify(KEY, token, 999.9) == "green"
    assert verify(KEY, token, 1000.0) is None


def test_a_token_of_another_deployment_shows_nothing() -> None:
    assert verify("another secret", sign(KEY, "green", 1000.0), 0.0) is None


def test_without_a_key_nothing_is_believed() -> None:
    assert verify("", sign("", "green", 1000.0), 0.0) is None


@pytest.mark.parametrize("version", ["red", "blue.9", ""])
def test_a_name_that_is_no_version_shows_nothing(version: str) -> None:
    assert verify(KEY, sign(KEY, version, 1000.0), 0.0) is None


@pytest.mark.parametrize("token", ["", ".", "..", "green", "green.1000.", "gr\xfcn.1000.x", "green.1000." + "A" * 500])
def test_what_is_no_token_shows_nothing(token: str) -> None:
    assert verify(KEY, token, 0.0) is None


@given(st.integers(0, 80), st.characters(codec="ascii"))
def test_any_change_makes_a_token_void(at: int, put: str) -> None:
    token = sign(KEY, "green", 1000.0)
    changed = token[:at] + put + token[at + 1 :]
    assert changed == token or verify(KEY, changed, 0.0) is None


@given(st.text(), st.text(), st.floats(0, 1e12))
def test_any_text_is_judged_without_trouble(key: str, token: str, now: float) -> None:
    assert verify(key, token, now) is None


def test_a_token_fits_into_a_link_as_it_is() -> None:
    assert all(letter.isalnum() or letter in "-_." for letter in sign(KEY, "blue", 1795449320))
