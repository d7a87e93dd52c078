"""The peers that are installed here start, pass requests on, and are gone afterwards."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.accounting import process_tree
from bench.backends import run_backends, served
from bench.balancers import BALANCERS
from bench.closed_loop import run_load
from bench.origin import run_origin
from bench.peers import PEERS, Peer, find_program, installed, peer_version, start_peers
from bench.processes import Cores, free_port, running

INSTALLED = [name for name, peer in PEERS.items() if find_program(peer)]
INSTALLED_BALANCERS = [name for name, peer in BALANCERS.items() if find_program(peer)]


def test_the_obvious_build_is_always_there() -> None:
    assert "flask" in INSTALLED
    assert peer_version(PEERS["flask"], "").startswith("Flask ")


@pytest.mark.parametrize("name", INSTALLED)
def test_peer_passes_requests_on_and_ends(name: str, tmp_path: Path) -> None:
    cores = Cores.chosen()
    with run_origin(tmp_path / "origin", cores) as origin:
        with ExitStack() as stack:
            server = start_peers(stack, {name: PEERS[name]}, tmp_path, [origin.port], cores)[name]
            tree = process_tree(server.pid)
            load = run_load(server.port, "/64k", 0.2, 4)
        assert load.requests > 0
        assert load.errors == 0
        assert not any(process_tree(pid) for pid in tree)


@pytest.mark.parametrize("name", INSTALLED_BALANCERS)
def test_balancer_uses_every_backend(name: str, tmp_path: Path) -> None:
    cores, ports = Cores.chosen(), [free_port() for _ in range(4)]
    with run_backends(tmp_path, dict.fromkeys(ports, 1.0), cores.load) as backends, ExitStack() as stack:
        server = start_peers(stack, {name: BALANCERS[name]}, tmp_path, ports, cores)[name]
        before = served(backends)
        load = run_load(server.port, "/", 0.5, 16)
        counts = {port: count - before[port] for port, count in served(backends).items()}
    assert load.errors == 0
    assert list(counts) == ports
    assert min(counts.values()) > 0


def test_line_with_the_origin_is_there_for_each(tmp_path: Path) -> None:
    peer = Peer("any", "", "listen {port}\nserver {origin};\nend {{}}\n", lambda program, config: [config], "-v")
    [config] = peer.command("any", 1, [2, 3], tmp_path)
    assert Path(config).read_text() == "listen 1\nserver 2;\nserver 3;\nend {}\n"


def test_absent_peer_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    absent = Peer("no-such-proxy", "apt-get install no-such-proxy", "", lambda program, config: [], "-v")
    assert installed({"absent": absent}) == {}
    assert "absent: not installed, left out (apt-get install no-such-proxy)" in capsys.readouterr().out


def test_peer_that_does_not_start_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Peer("sh", "", "", lambda program, config: [program, "-c", "echo no such luck; exit 3"], "--version")
    with ExitStack() as stack:
        assert start_peers(stack, {"broken": broken}, tmp_path, [1], Cores.chosen()) == {}
    assert "broken: left out: broken ended with status 3: no such luck" in capsys.readouterr().out


def test_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with pytest.raises(RuntimeError, match="ended with status 3: no such luck"):
        with running("broken", command, free_port(), tmp_path, Cores.chosen().proxy):
            raise AssertionError("it should not have started")
