"""A version of several processes: started, gated, switched to and stopped as one."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.deploy.deployer import Overrides
from app.deploy.events import Launched, Stopped
from app.operator_errors import ConfigError, OperatorError, UnhealthyVersion
from app.state.instances import one_of
from app.state.process_birth import is_zombie
from app.state.store import StateStore
from app.transport.loopback import port_is_open
from tests.deploy.instances import kill, living, pid_of, step
from tests.deploy.rehearsal import Rehearsal
from tests.support.waiting import wait_until

UNIX_APP = Path(__file__).with_name("tiny_app.py")
UNIX_COMMAND = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(UNIX_APP))} {{socket}}"

Make = Callable[..., Rehearsal]


@pytest.fixture
def three(deployments: Make) -> Rehearsal:
    """Nothing runs; a version is to have three processes."""
    return deployments(instances=3, instance_port_step=step())


def test_start_starts_and_gates_each_and_stop_stops_each(three: Rehearsal) -> None:
    three.deployer().start("blue")
    blue = three.version("blue")
    ports = [blue.port + number * step() for number in range(3)]
    assert blue.instances == tuple(f"127.0.0.1:{port}" for port in ports)
    assert blue.status == "running" and living(three, "blue") == [1, 2, 3]
    assert all(map(port_is_open, ports))
    assert [event.version for event in three.seen(Launched)] == ["blue", "blue.2", "blue.3"]
    three.deployer().stop("blue", force=True)
    assert living(three, "blue") == [] and not any(map(port_is_open, ports))
    assert [event.version for event in three.seen(Stopped)] == ["blue", "blue.2", "blue.3"]
    assert (three.version("blue").status, three.version("blue").instances) == ("stopped", ())


def test_each_knows_its_number_and_has_a_log_of_its_own(deployments: Make) -> None:
    command = "sh -c 'echo I am $BG_VERSION $BG_INSTANCE of {version} {instance} on {port} $PORT; exec sleep 60'"
    it = deployments(instances=2, instance_port_step=step(), command=command, start_timeout=0.5, health_timeout=0.2)
    with pytest.raises(UnhealthyVersion):
        it.deployer().start("blue")
    port = it.version("blue").port
    for number, log in enumerate(["blue.log", "blue.2.log"], start=1):
        said = (it.store.folder / "logs" / log).read_text()
        own = port + (number - 1) * step()
        assert said == f"I am blue {number} of blue {number} on {own} {own}\n"


def test_when_one_does_not_become_healthy_all_are_stopped(deployments: Make) -> None:
    command = 'sh -c \'test $BG_INSTANCE = 2 && exit 7; exec "$0" -I -S "$1" {port}\' ' + shlex.join(
        [sys.executable, str(UNIX_APP)]
    )
    it = deployments(instances=3, instance_port_step=step(), command=command)
    with pytest.raises(UnhealthyVersion, match=r"blue.2 on port .* it has ended \(exit status 7\)") as caught:
        it.deployer().start("blue")
    assert "logs blue.2" in caught.value.hint
    assert living(it, "blue") == [] and it.version("blue").status == "stopped"
    assert it.version("blue").instances == () and it.state.active_version is None


def test_deploy_and_rollback_take_all_of_them(three: Rehearsal) -> None:
    three.deployer().start("blue", Overrides(release="r1"))
    three.deployer().deploy(Overrides(release="r2"), stop_old=True)
    assert three.state.active_version == "green"
    assert (living(three, "blue"), living(three, "green")) == ([], [1, 2, 3])
    three.deployer().rollback()
    assert three.state.active_version == "blue"
    assert (living(three, "blue"), living(three, "green")) == ([1, 2, 3], [1, 2, 3])


def test_version_is_crashed_when_its_last_process_is(three: Rehearsal) -> None:
    three.deployer().start("blue")
    deployment = three.deployment()
    kill(three, "blue", 1)
    blue = deployment.observed(three.state).version("blue")
    assert (blue.status, blue.pid) == ("running", three.version("blue").pid)
    kill(three, "blue", 2)
    assert deployment.settle().version("blue").status == "running"
    kill(three, "blue", 3)
    blue = deployment.settle().version("blue")
    assert (blue.status, blue.exit_status) == ("crashed", -signal.SIGKILL)
    three.deployer().start("blue")
    assert living(three, "blue") == [1, 2, 3]


def test_switch_asks_each(three: Rehearsal) -> None:
    three.deployer().start("blue")
    three.deployer().start("green")
    kill(three, "green", 3)
    with pytest.raises(UnhealthyVersion, match=r"green\.3 on port"):
        three.deployer().switch("green")
    assert three.state.active_version == "blue"


def test_each_is_started_again_by_its_own_supervisor(deployments: Make) -> None:
    it = deployments(instances=2, instance_port_step=step(), restart="on-failure", restart_delay=0.1)
    it.deployer().start("blue")
    before = pid_of(it, "blue", 2)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: living(it, "blue") == [1, 2] and pid_of(it, "blue", 2) != before, "it is there again")
    it.deployer().stop("blue", force=True)
    assert living(it, "blue") == []


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("moment", ["just before", "just after"])
def test_start_waits_for_a_process_that_its_supervisor_starts_again(
    deployments: Make, number: int, moment: str
) -> None:
    """It does not listen yet at that moment, and nothing is wrong with it."""
    it = deployments(instances=2, instance_port_step=step(), restart="on-failure", restart_delay=0.1)
    it.deployer().start("blue")
    before = pid_of(it, "blue", number)
    os.kill(before, signal.SIGKILL)
    if moment == "just after":
        wait_until(lambda: number in living(it, "blue") and pid_of(it, "blue", number) != before, "it is there again")
    it.deployer().start("blue")
    assert living(it, "blue") == [1, 2]
    assert it.version("blue").status == "running"


def test_start_says_at_once_that_a_process_is_unwell_which_nobody_starts_again(three: Rehearsal) -> None:
    three.deployer().start("blue")
    kill(three, "blue", 2)
    began = time.monotonic()
    with pytest.raises(UnhealthyVersion, match=r"blue\.2 on port"):
        three.deployer().start("blue")
    assert time.monotonic() - began < 5, "less than start_timeout"


def test_process_whose_supervisor_was_killed_is_found_all_the_same(three: Rehearsal) -> None:
    three.deployer().start("blue")
    before = pid_of(three, "blue", 2)
    keeper = three.processes.find(one_of(three.version("blue"), 2)).supervisor
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: three.processes.find(one_of(three.version("blue"), 2)).supervisor is None, "its end")
    assert (living(three, "blue"), pid_of(three, "blue", 2)) == ([1, 2, 3], before)
    three.deployer().stop("blue", force=True)
    assert living(three, "blue") == [] and is_zombie(before)


def test_what_cannot_listen_is_told_at_once_and_nothing_is_started(three: Rehearsal) -> None:
    deployer = three.deployer()
    deployer.deployment.main_port = three.ports["blue"] + step()
    three.ports["green"] = three.ports["blue"] + 2 * step()
    state = three.store.read()
    text = three.store.path.read_text().replace(str(state.version("green").port), str(three.ports["green"]))
    three.store.path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        deployer.start("blue")
    assert f"process 2 of blue would listen on port {deployer.deployment.main_port}, which is the router's" in str(
        caught.value
    )
    assert f"process 3 of blue would listen on port {three.ports['green']}, which is one of green's" in str(
        caught.value
    )
    assert three.seen(Launched) == [] and caught.value.exit_code == 2


# --- sockets ---------------------------------------------------------------------------------------------


@pytest.fixture
def near() -> Iterator[Make]:
    """Makes deployments in a folder whose path is short, as that of a socket has to be."""
    made: list[Rehearsal] = []
    with TemporaryDirectory() as folder:

        def make(**settings: Any) -> Rehearsal:
            made.append(Rehearsal(Path(folder), bind="unix", command=UNIX_COMMAND, **settings))
            return made[-1]

        yield make
        for rehearsal in made:
            rehearsal.close()


@pytest.fixture
def unix(near: Make) -> Rehearsal:
    return near(instances=2)


def test_sockets_are_private_and_a_stale_one_is_removed(unix: Rehearsal) -> None:
    run = unix.store.folder / "run"
    run.mkdir()
    stale = run / "blue.1.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    unix.deployer().start("blue")
    assert unix.version("blue").instances == tuple(f"unix:{run}/blue.{number}.sock" for number in (1, 2))
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) & ~0o660 == 0 for path in run.iterdir())
    unix.deployer().deploy()
    assert living(unix, "green") == [1, 2]


def test_single_process_can_have_a_socket(near: Make) -> None:
    it = near()
    it.deployer().start("blue")
    assert it.version("blue").instances == (f"unix:{it.store.folder}/run/blue.1.sock",)
    it.deployer().restart("blue")
    assert living(it, "blue") == [1]


def test_file_that_is_no_socket_is_left_alone(unix: Rehearsal) -> None:
    (unix.store.folder / "run").mkdir()
    path = unix.store.folder / "run" / "blue.2.sock"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"blue\.2\.sock is there, and no socket"):
        unix.deployer().start("blue")
    assert path.read_text() == "mine"


def test_socket_on_which_somebody_listens_is_not_taken_away(unix: Rehearsal) -> None:
    (unix.store.folder / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(unix.store.folder / "run" / "blue.1.sock"))
        other.listen()
        with pytest.raises(OperatorError, match="something listens there"):
            unix.deployer().start("blue")
    assert living(unix, "blue") == []


def test_command_without_a_socket_is_refused(unix: Rehearsal) -> None:
    with pytest.raises(ConfigError, match=r"has no \{socket\}"):
        unix.deployer().start("blue", Overrides(command="sleep {port}"))


def test_path_that_is_too_long_is_refused(unix: Rehearsal) -> None:
    deep = unix.home / ("d" * 100)
    deep.mkdir()
    unix.store = StateStore(deep / "bg_state.json", unix.ports)
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        unix.deployer().start("blue")


def test_release_is_started_again_on_what_its_command_listens_on(unix: Rehearsal) -> None:
    """A way back must not depend on a setting that belongs to the next release."""
    unix.deployer().start("blue", Overrides(release="r1"))
    unix.deployer().stop("blue", force=True)
    unix.app = type(unix.app)(command=unix.app.command, dir=unix.app.dir, start_timeout=10)
    unix.deployer().start("blue")
    assert unix.version("blue").instances == (f"unix:{unix.store.folder}/run/blue.1.sock",)
