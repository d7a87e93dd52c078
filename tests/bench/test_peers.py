"""The peers that are installed here start, pass requests on, and are gone afterwards."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.accounting import process_tree
from bench.closed_loop import run_load
from bench.compare import start_peers
from bench.origin import run_origin
from bench.peers import PEERS, Peer, find_program, peer_version
from bench.processes import Cores, free_port, running

INSTALLED = [name for name, peer in PEERS.items() if find_program(peer)]


def test_the_obvious_build_is_always_there() -> None:
    assert "flask" in INSTALLED
    assert peer_version(PEERS["flask"], "").startswith("Flask ")


@pytest.mark.parametrize("name", INSTALLED)
def test_peer_passes_requests_on_and_ends(name: str, tmp_path: Path) -> None:
    cores = Cores.chosen()
    with run_origin(tmp_path / "origin", cores) as origin:
        with ExitStack() as stack:
            [server] = start_peers(stack, [name], tmp_path, origin, cores)
            tree = process_tree(server.pid)
            load = run_load(server.port, "/64k", 0.2, 4)
        assert load.requests > 0
        assert load.errors == 0
        assert not any(process_tree(pid) for pid in tree)


def test_absent_peer_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Peer("no-such-proxy", "apt-get install no-such-proxy", "", lambda program, config: [], "-v")
    monkeypatch.setitem(PEERS, "absent", absent)
    with run_origin(tmp_path / "origin", Cores.chosen()) as origin, ExitStack() as stack:
        assert start_peers(stack, ["absent"], tmp_path, origin, Cores.chosen()) == []

    assert "absent: not installed, left out (apt-get install no-such-proxy)" in capsys.readouterr().out


def test_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with pytest.raises(RuntimeError, match="ended with status 3: no such luck"):
        with running("broken", command, free_port(), tmp_path, Cores.chosen().proxy):
            raise AssertionError("it should not have started")
