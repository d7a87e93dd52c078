"""Run in a network namespace of its own: two hosts, a live application on port 8000, and its move behind a router."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.integration.test_move_a_live_application import Move

HERE, THERE = "10.9.0.1", "10.9.0.2"

CLIENT_S = 100.0
"""A client that nobody ends ends itself."""


def main(folder: Path) -> None:
    """The page's steps, with a client on the other host that asks all the while."""
    other = subprocess.Popen(["unshare", "-n", "sleep", str(CLIENT_S)])
    try:
        time.sleep(0.2)
        inside = ["nsenter", "-t", str(other.pid), "-n"]
        for line in (
            "ip link set lo up",
            "ip link add v0 type veth peer name v1",
            f"ip link set v1 netns {other.pid}",
            f"ip addr add {HERE}/24 dev v0",
            "ip link set v0 up",
        ):
            subprocess.run(line.split(), check=True)
        for line in ("ip link set lo up", f"ip addr add {THERE}/24 dev v1", "ip link set v1 up"):
            subprocess.run([*inside, *line.split()], check=True)
        _move(Move(folder, 8000, 5004, "0.0.0.0"), [*inside, sys.executable, "-m", __spec__.name, "--ask"], folder)
    finally:
        other.kill()
        other.wait()


def _move(move: Move, client: list[str], folder: Path) -> None:
    with move.live() as live:
        opened = subprocess.Popen([*client, "--once"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert opened.stdout is not None
        opened.stdout.readline()
        asking = subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        move.type("bin/traffic_router start --daemon")
        move.type("bin/blue_green_deploy switch blue")
        subprocess.run(["nft", "-f", str(folder / "rules.nft")], check=True)
        said, _ = opened.communicate("\n", timeout=20)
        assert said.strip() == "200", f"a connection that was open: {said}"
        move.type("bin/blue_green_deploy deploy --release=r2")
        live.terminate()
        live.wait(20)
        move.type("bin/blue_green_deploy deploy --release=r2")
        said, _ = asking.communicate("", timeout=20)
        answers, failures = json.loads(said)
        sys.stdout.write(f"{answers} answers, failures: {failures}\n")


def ask_on() -> None:
    """A client: a new connection for every second request, until standard input is closed."""
    import select

    answers, failures, kept = 0, list[str](), None
    ends = time.monotonic() + CLIENT_S
    while not select.select([sys.stdin], [], [], 0.005)[0] and time.monotonic() < ends:
        connection = kept or HTTPConnection(HERE, 8000, timeout=10)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                answers += 1
            else:
                failures.append(str(answer.status))
        except (OSError, HTTPException) as error:
            failures.append(repr(error))
            connection.close()
        kept = None if kept is not None else connection
        if kept is None:
            connection.close()
    sys.stdout.write(json.dumps([answers, failures[:5]]))


def ask_once() -> None:
    """A client whose connection is open; it is asked when a line comes."""
    connection = HTTPConnection(HERE, 8000, timeout=10)
    connection.connect()
    sys.stdout.write("open\n")
    sys.stdout.flush()
    sys.stdin.readline()
    connection.request("GET", "/")
    sys.stdout.write(str(connection.getresponse().status))


if __name__ == "__main__":
    if sys.argv[-1] == "--once":
        ask_once()
    elif sys.argv[1] == "--ask":
        ask_on()
    else:
        main(Path(sys.argv[1]))
