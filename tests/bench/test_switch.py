"""The benchmark of a switch sees which version answered last, and does not count what came before the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import switch
from bench.switch import Clients, measure
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.waiting import wait_until


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Clients of a version that answers "blue", as many times a second as they may."""
    with RawUpstream() as blue:
        blue.answers(reply(b"blue"))
        clients = Clients(blue.port, rate=400)
        with clients.asking():
            wait_until(lambda: len(clients.answers) > 10, "answers")
            yield clients


def command(folder: Path, text: str) -> str:
    path = folder / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_requests_that_still_get_to_the_old_version_are_late(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "COMMAND", command(tmp_path, "exit 0"))
    seen = measure(clients, ["switch", "green"], {}, b"blue")
    assert seen.late > 0
    assert seen.last_old_s > seen.exit_s > 0
    assert clients.failures == []


def test_without_requests_to_the_old_version_there_is_no_last_one(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "COMMAND", command(tmp_path, "exit 0"))
    seen = measure(clients, ["switch", "blue"], {}, b"green")
    assert (seen.last_old_s, seen.late) == (0.0, 0)


def test_command_that_fails_ends_the_benchmark(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "COMMAND", command(tmp_path, "echo no >&2; exit 3"))
    with pytest.raises(RuntimeError, match="switch green: exit 3: no"):
        measure(clients, ["switch", "green"], {}, b"blue")
