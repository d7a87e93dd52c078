"""The short run: a fixed stream of inputs for each target, and the fuzzer itself."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.mutations import inputs, seeds
from tests.fuzz.targets import TARGETS

INPUTS = 30_000
"""A second or two for each target."""


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_is_read_in_two_ways(target: str) -> None:
    accepted = sum(TARGETS[target](data) for data in islice(inputs(target, Random(5004)), INPUTS))
    assert accepted > INPUTS / 50, "most inputs never got past the first check"


@pytest.mark.parametrize("target", TARGETS)
def test_there_is_something_to_begin_with(target: str) -> None:
    assert any(TARGETS[target](data) for data in seeds(target))


def test_long_run_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.1", "--seed", "1", "--target", "chunks"]) == 0
    assert "no finding" in capsys.readouterr().err


def test_finding_is_kept_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(data: bytes) -> bool:
        raise AssertionError("read in two ways")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TARGETS, "chunks", wrong)
    with pytest.raises(AssertionError, match="two ways"):
        main(["--target", "chunks"])
    assert "a finding after 1 inputs" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="two ways"):
        main(["--target", "chunks", "fuzz-finding.bin"])
    monkeypatch.undo()
    assert main(["--target", "chunks", str(tmp_path / "fuzz-finding.bin")]) == 0
