"""The units under a real systemd: installed as the guide says, then switched, restarted, killed and stopped under load.

Commands come from the guide itself; what it leaves to the reader is done in `install`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT, blocks
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient
from tests.support.systemd_machine import HOME, SystemdMachine, missing
from tests.support.waiting import wait_until

if reason := missing():
    pytest.skip(f"needs a systemd of its own: {reason}", allow_module_level=True)

GUIDE = ROOT / "docs" / "how-to" / "run-under-systemd.md"
ROUTER, SOCKET, BLUE, GREEN = (f"traffic-router{end}" for end in (".service", ".socket", "-blue", "-green"))
PORT = 5004
CLIENTS = 2
GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"

SUDO = """#!/bin/sh
# What the guide asks of sudo; root needs no other.
[ "$1" = -u ] || exec "$@"
user=$2
shift 2
exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"
"""

SHOP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(NAME)))])
    return [NAME]
"""

SETTINGS = f"""
workers = 1
hold_timeout = "20s"
[app]
command = "{HOME}/.venv/bin/python -m gunicorn --no-control-socket --threads 8 -b 127.0.0.1:{{port}} shop:app"
dir = "/srv/shop/{{version}}"
"""

Machine = SystemdMachine


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine where the guide was followed down to the socket unit, blue being active."""
    with SystemdMachine(tmp_path_factory.mktemp("machine")) as machine:
        install(machine)
        yield machine


def guided(machine: Machine, begin: str, *left_out: str) -> str:
    """Runs the guide's block with this command in it, but for the lines in which one of the words is found."""
    (block,) = (block for block in blocks(GUIDE, "sh") if f"\n{begin}" in f"\n{block.text}")
    lines = [line for line in block.text.splitlines() if not any(word in line for word in left_out)]
    return machine.run("sh", "-ec", "\n".join(lines))


def install(machine: Machine) -> None:
    """Follows the guide; the machine has the project and its environment, so that nothing is fetched."""
    machine.write("/usr/local/bin/sudo", SUDO, 0o755)
    for name in ("blue", "green"):
        machine.write(f"/srv/shop/{name}/shop.py", f"NAME = {name.encode()!r}\n{SHOP}")
    machine.write(f"{HOME}/traffic_router.toml", SETTINGS)
    guided(machine, "sudo useradd", "git clone", "make setup", "traffic_router.example.toml")
    wait_until(lambda: set(versions(machine).values()) == {"running"}, "both versions", 30)
    guided(machine, "sudo cp docs/how-to/systemd/traffic-router.socket")
    with machine.network():
        if asked() != "blue":  # the first that is healthy becomes active
            switch(machine, "blue")
        assert asked() == "blue"


def asked() -> str:
    """The answer to one request on a connection of its own."""
    with RawClient(PORT, deadline_s=30) as client:
        return client.ask(GET).text


def versions(machine: Machine) -> dict[str, str]:
    """The status of each version, as the state file has it; none before there is one."""
    path = machine.path(f"{HOME}/.local_context/bg_state.json")
    if not path.exists():
        return {}
    return {name: version["status"] for name, version in json.loads(path.read_text())["versions"].items()}


def switch(machine: Machine, version: str) -> None:
    machine.run("sudo", "-u", "traffic-router", "bin/blue_green_deploy", "switch", version)


def restarted(machine: Machine, unit: str, before: str) -> None:
    """Waits until systemd has started a service anew."""
    wait_until(lambda: machine.shown(unit, "MainPID") not in ("0", before), f"{unit}'s new process", 20)
    wait_until(lambda: machine.shown(unit, "ActiveState") == "active", f"{unit} again", 20)


def answered() -> int:
    """How many requests the router has answered; a request that waits, and so does this, is not lost."""
    with RawClient(PORT, deadline_s=30) as client:
        answer = client.ask(b"GET /__router_metrics HTTP/1.1\r\nHost: x.test\r\n\r\n")
    return int(json.loads(answer.body)["total_requests"])


def answered_more() -> None:
    """Waits until the router has answered some more requests."""
    begin = answered()
    wait_until(lambda: answered() >= begin + 40, "40 more answers", 30)


@contextlib.contextmanager
def load(machine: Machine) -> Iterator[Hammering]:
    """A client with a kept connection and one with new ones, who ask before, during and after the block.

    One that had both would leave its kept connection alone while it waits for a new one.
    """
    with machine.network(), Hammering(PORT, CLIENTS, kept=(2, 0)) as clients:
        answered_more()
        yield clients
        answered_more()


def test_services_run_confined(machine: Machine) -> None:
    for unit in (ROUTER, BLUE, GREEN):
        status = machine.path(f"/proc/{machine.shown(unit, 'MainPID')}/status").read_text()
        said = dict(line.split(":\t") for line in status.splitlines())
        assert said["NoNewPrivs"] == "1"
        assert said["Seccomp"] == "2"
        assert int(said["CapBnd"], 16) == int(said["CapEff"], 16) == 0
        assert "0" not in said["Uid"].split()
        assert machine.shown(unit, "NRestarts") == "0"


def test_deploy_as_in_the_guide_loses_nothing(machine: Machine) -> None:
    with load(machine) as clients:
        guided(machine, "sudo rsync", "rsync")
        guided(machine, "sudo -u traffic-router bin/blue_green_deploy rollback")
    assert clients.failures == []
    assert {body for _, _, body in clients.answers} == {"blue", "green"}


def test_reload_and_restart_of_the_router_lose_nothing(machine: Machine) -> None:
    with load(machine) as clients:
        guided(machine, "sudo systemctl reload traffic-router")
        before = machine.shown(ROUTER, "MainPID")
        machine.run("systemctl", "restart", ROUTER)
        assert machine.shown(ROUTER, "MainPID") != before
    assert clients.failures == []


def test_upgrade_tells_systemd_of_the_new_process(machine: Machine) -> None:
    before = machine.shown(ROUTER, "MainPID")
    with load(machine) as clients:
        machine.run("sudo", "-u", "traffic-router", "bin/traffic_router", "upgrade")
        wait_until(lambda: machine.shown(ROUTER, "MainPID") != before, "the new main process")
        machine.run("systemctl", "restart", ROUTER)
    assert clients.failures == []
    assert machine.shown(ROUTER, "NRestarts") == "0"


def test_router_that_is_killed_comes_back_and_only_what_it_had_is_lost(machine: Machine) -> None:
    before = machine.shown(ROUTER, "MainPID")
    with load(machine) as clients:
        machine.run("kill", "-KILL", before)
        restarted(machine, ROUTER, before)
    assert len(clients.failures) <= CLIENTS


@pytest.mark.parametrize("command", [("kill", "--signal=KILL"), ("restart",)], ids=["kill", "restart"])
def test_active_version_comes_back_and_only_what_it_had_is_lost(machine: Machine, command: tuple[str, ...]) -> None:
    before = machine.shown(BLUE, "MainPID")
    with load(machine) as clients:
        machine.run("systemctl", *command, BLUE)
        restarted(machine, BLUE, before)
    assert len(clients.failures) <= CLIENTS
    assert {body for _, _, body in clients.answers} == {"blue"}


def test_connections_wait_until_a_wrong_setting_is_mended(machine: Machine) -> None:
    settings = machine.path(f"{HOME}/traffic_router.toml")
    right = settings.read_text()
    settings.write_text("workers = -1\n" + right)
    try:
        assert "failed" in machine.run("systemctl", "restart", ROUTER, check=False)
        with machine.network(), RawClient(PORT, deadline_s=30) as client:
            client.send(GET)
            restarts = int(machine.shown(ROUTER, "NRestarts"))
            # More than systemd would allow by itself.
            wait_until(lambda: int(machine.shown(ROUTER, "NRestarts")) >= restarts + 5, "attempts", 40)
            assert not client.has_bytes()
            settings.write_text(right)
            assert client.read_response().text == "blue"
    finally:
        settings.write_text(right)


def test_version_that_was_stopped_by_command_stays_so(machine: Machine) -> None:
    machine.run("sudo", "-u", "traffic-router", "bin/blue_green_deploy", "stop", "green")
    wait_until(lambda: machine.shown(GREEN, "ActiveState") == "inactive", "the service's end")
    assert (machine.shown(GREEN, "Result"), versions(machine)["green"]) == ("success", "stopped")
    machine.run("systemctl", "start", GREEN)
    wait_until(lambda: versions(machine)["green"] == "running", "green", 20)


def test_router_ends_before_the_versions_and_all_start_with_the_machine(machine: Machine) -> None:
    switch(machine, "green")
    machine.run("systemctl", "stop", SOCKET, ROUTER, BLUE, GREEN)
    router_ended = int(machine.shown(ROUTER, "InactiveEnterTimestampMonotonic"))
    assert router_ended <= int(machine.shown(GREEN, "ActiveExitTimestampMonotonic"))
    machine.run("systemctl", "start", "--no-block", "sockets.target", "multi-user.target")  # what a boot asks for
    wait_until(lambda: machine.shown(SOCKET, "ActiveState") == "active", "the socket", 20)
    with machine.network():
        wait_until(lambda: asked() == "green", "the version that was active", 30)
    machine.run("sudo", "-u", "traffic-router", "bin/blue_green_deploy", "rollback")
