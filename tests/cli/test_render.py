"""Figures for people, and what is left out where there is no terminal."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest

from app.cli.terminal import (
    Progress,
    bold,
    bytes_text,
    count_text,
    dim,
    duration_text,
    heading,
    is_plain,
    mark,
    ms_text,
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that can do colour."""
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_figures_are_written_with_ordinary_spaces() -> None:
    assert (bytes_text(5 << 20), ms_text(45.21), duration_text(11_100)) == ("5.00 MiB", "45.2 ms", "3 h 5 min")


def test_counts_have_their_thousands_parted() -> None:
    assert count_text(1234567) == "1,234,567"


def test_marks() -> None:
    assert (mark(True), mark(False)) == ("✅", "❌")


def test_no_escape_sequence_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert is_plain()
    assert (bold("a"), dim("b")) == ("a", "b")
    assert heading("TITLE") == f"{'=' * 60}\nTITLE\n{'=' * 60}\n"


def test_terminal_gets_bold_and_dim(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        assert (bold("a"), dim("b")) == ("\x1b[1ma\x1b[0m", "\x1b[2mb\x1b[0m")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminal_may_ask_for_plain_text(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert not is_plain(terminal)

    monkeypatch.setenv(name, value)

    assert is_plain(terminal)


def test_progress_on_a_terminal_is_one_line_that_goes_away(terminal: Terminal) -> None:
    progress = Progress(terminal)

    progress.say("Waiting", ", 1 s")
    progress.say("Waiting", ", 2 s")
    progress.clear()
    progress.clear()

    assert terminal.getvalue() == "\r\x1b[K⏳ Waiting, 1 s\r\x1b[K⏳ Waiting, 2 s\r\x1b[K"


def test_progress_elsewhere_is_a_line_for_each_change() -> None:
    stream = io.StringIO()
    progress = Progress(stream)

    progress.say("Waiting", ", 1 s")
    progress.say("Waiting", ", 2 s")
    progress.say("Ending")
    progress.clear()

    assert stream.getvalue() == "⏳ Waiting\n⏳ Ending\n"
