"""The short run: a fixed stream of inputs for each target, and the fuzzer itself."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.conversations import Answer, Conversation
from tests.fuzz.lane import merged
from tests.fuzz.mutations import seeds
from tests.fuzz.targets import TARGETS, stream

INPUTS = {"lane": 400}
"""By target, 30,000 for the others: a second or two for each."""


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_is_read_in_two_ways(target: str) -> None:
    count = INPUTS.get(target, 30_000)
    accepted = sum(TARGETS[target](data) for data in islice(stream(target, Random(5004)), count))
    assert accepted > count / 50, "most inputs never got past the first check"


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"lane"}))
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


def test_conversation_is_a_file_that_can_be_read() -> None:
    talk = Conversation([(b"GET / \xff", True), (b"\r\n", False)], [Answer([b"a", b"\x00"], "close", True)], True)
    assert Conversation.decoded(talk.encoded()) == talk


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        (b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n", b"<abcde>0\r\n\r\n"),
        (b"3\r\nabc\r\n", b"<abc>"),
        (b"3\r\nab", b"<>3\r\nab"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"<>HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_chunks_are_compared_by_what_is_in_them(chunks: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert merged(head + chunks) == head + body
