"""Who switches when."""

from __future__ import annotations

import pytest

from app.fleet.waves import in_waves
from app.operator_errors import UsageError

NODES = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("text", "waves"),
    [
        ("100%", [5]),
        ("1,25%,100%", [1, 1, 3]),
        ("1", [1, 4]),
        ("1,1,100%", [1, 4]),
        ("9", [5]),
        ("50%, 100%", [3, 2]),
    ],
)
def test_waves_have_so_many_nodes_each(text: str, waves: list[int]) -> None:
    made = in_waves(text, NODES)
    assert [len(wave) for wave in made] == waves
    assert tuple(node for wave in made for node in wave) == NODES


@pytest.mark.parametrize("text", ["", "0", "x", "101%", "3,1", "1,,2", "-1"])
def test_waves_that_do_not_grow_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--waves="):
        in_waves(text, NODES)
