"""Some of a version's processes at a time: replaced, added, removed and drained while the others serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from app.address import Address
from app.deploy.drain import OnTimeout
from app.deploy.events import BrokenOff, Drained, Launched, Noted, Stopped
from app.deploy.scaling import drain, scale, undrain
from app.operator_errors import ConfigError, DrainTimedOut, OperatorError, ProcessError, UnhealthyVersion, UsageError
from app.settings.tables.backends_settings import BackendsConfig
from app.state.model import put_version
from tests.deploy.instances import kill, living, pid_of, step
from tests.deploy.kill_points import calls_of, killed_at
from tests.deploy.rehearsal import FakeTraffic, Rehearsal

Make = Callable[..., Rehearsal]


@pytest.fixture
def three(deployments: Make) -> Rehearsal:
    """Three processes of blue serve, under a router that has nothing in flight."""
    it = deployments(instances=3, instance_port_step=step())
    it.traffic = FakeTraffic()
    it.deployer().start("blue")
    it.events.clear()
    return it


def pids(it: Rehearsal) -> list[int]:
    return [pid_of(it, "blue", number) for number in living(it, "blue")]


def told(it: Rehearsal) -> list[str]:
    """What happened to which process, in order."""
    words = {Drained: "drained", Stopped: "stopped", Launched: "started"}
    return [
        f"{words[type(event)]} {event.version}"
        for event in it.events
        if isinstance(event, (Drained, Stopped, Launched))
    ]


def script(it: Rehearsal, **looks: list[int]) -> None:
    """What each process has in flight: `blue_2` is the second one."""
    listed = it.version("blue").instances
    it.traffic = FakeTraffic({listed[int(name.removeprefix("blue_")) - 1]: counts for name, counts in looks.items()})


def break_releases(it: Rehearsal, *, broken: bool = True) -> None:
    flag = it.home / "broken"
    flag.touch() if broken else flag.unlink()


# --- restart ---------------------------------------------------------------------------------------------


def test_restart_replaces_one_after_the_other(three: Rehearsal) -> None:
    before = pids(three)
    three.deployer().restart("blue")
    assert not set(before) & set(pids(three)) and living(three, "blue") == [1, 2, 3]
    names = ["blue", "blue.2", "blue.3"]
    assert told(three) == [f"{what} {name}" for name in names for what in ("drained", "stopped", "started")]
    blue = three.version("blue")
    assert (blue.drained, len(blue.instances), blue.status) == ((), 3, "running")
    assert blue.pid == pid_of(three, "blue", 1)
    assert three.outcomes()[-1] == ("restart", "done")


def test_without_a_router_nobody_is_waited_for(three: Rehearsal) -> None:
    three.traffic = None
    three.deployer().restart("blue")
    assert living(three, "blue") == [1, 2, 3] and three.seen(Drained) == []


def test_workers_know_before_their_requests_are_waited_for(three: Rehearsal) -> None:
    assert isinstance(three.traffic, FakeTraffic)
    three.traffic.known = [False, True]
    three.deployer().restart("blue")
    assert len(set(three.traffic.asked)) == 3, "a state for each turn"


def test_next_one_is_taken_when_the_router_uses_the_one_before(three: Rehearsal) -> None:
    """A health check that failed while it was down keeps it from requests until the next one."""
    assert isinstance(three.traffic, FakeTraffic)
    three.traffic.used = [False, False, True]
    three.deployer().restart("blue")
    assert three.traffic.used == [True] and living(three, "blue") == [1, 2, 3]


def test_one_that_stays_busy_ends_the_restart_and_serves_on(three: Rehearsal) -> None:
    before = pids(three)
    script(three, blue_2=[1])
    with pytest.raises(DrainTimedOut, match="1 request in flight"):
        three.deployer(drain_timeout_s=0.2).restart("blue")
    assert three.version("blue").drained == ()
    assert pids(three)[1:] == before[1:] and pids(three)[0] != before[0]
    three.deployer(drain_timeout_s=0.2).restart("blue", on_timeout=OnTimeout.PROCEED)
    assert not set(before) & set(pids(three))


def test_new_one_that_is_not_well_leaves_the_others_alone(three: Rehearsal) -> None:
    before = pids(three)
    three.app = replace(three.app, start_timeout=0.5, health_timeout=0.2)
    break_releases(three)
    with pytest.raises(UnhealthyVersion, match="blue on port"):
        three.deployer().restart("blue")
    assert pids(three) == before[1:] and living(three, "blue") == [2, 3]
    blue = three.version("blue")
    assert (blue.drained, blue.status) == (blue.instances[:1], "running")
    break_releases(three, broken=False)
    three.deployer().restart("blue")
    assert living(three, "blue") == [1, 2, 3] and three.version("blue").drained == ()


def test_those_that_have_no_requests_come_first(three: Rehearsal) -> None:
    kill(three, "blue", 3)
    drain(three.deployer(), "blue", "2")
    three.events.clear()
    three.deployer().restart("blue")
    assert [event.version for event in three.seen(Launched)] == ["blue.2", "blue.3", "blue"]
    assert three.version("blue").drained == ()


def test_restart_of_the_standby_takes_all_at_once_and_keeps_their_number(three: Rehearsal) -> None:
    three.deployer().start("green")
    scale(three.deployer(), "green", 2)
    three.events.clear()
    three.deployer().restart("green")
    assert living(three, "green") == [1, 2]
    assert told(three)[-4:] == ["stopped green", "stopped green.2", "started green", "started green.2"]


def test_command_that_comes_in_between_wins(three: Rehearsal) -> None:
    before = pids(three)

    class Meddling(FakeTraffic):
        def in_flight_on(self, version: str, addresses: Sequence[Address]) -> int:
            state = three.store.read()
            three.store.write(put_version(state, replace(state.version("blue"), record="9-other")))
            return 0

    three.traffic = Meddling()
    with pytest.raises(ProcessError, match="another command has changed blue"):
        three.deployer().restart("blue")
    assert pids(three) == before and three.version("blue").drained == ()


# --- scale -----------------------------------------------------------------------------------------------


def test_scale_adds_healthy_ones_and_removes_the_last_ones(three: Rehearsal) -> None:
    before = pids(three)
    scale(three.deployer(), "blue", 5)
    assert living(three, "blue") == [1, 2, 3, 4, 5] and pids(three)[:3] == before
    assert len(three.version("blue").instances) == 5
    script(three, blue_5=[2, 1, 0])
    scale(three.deployer(), "blue", 1)
    assert living(three, "blue") == [1] and pids(three) == before[:1]
    assert (three.version("blue").instances, three.version("blue").drained) == ((), ())
    scale(three.deployer(), "blue", 2)
    assert living(three, "blue") == [1, 2]
    assert three.outcomes()[-3:] == [("scale", "done")] * 3


def test_one_that_is_not_well_is_not_added(three: Rehearsal) -> None:
    three.app = replace(three.app, start_timeout=0.5, health_timeout=0.2)
    before = three.version("blue")
    break_releases(three)
    with pytest.raises(UnhealthyVersion, match=r"blue\.4 on port"):
        scale(three.deployer(), "blue", 5)
    assert living(three, "blue") == [1, 2, 3] and three.version("blue") == before


def test_one_that_stays_busy_is_not_removed(three: Rehearsal) -> None:
    script(three, blue_3=[1])
    with pytest.raises(DrainTimedOut):
        scale(three.deployer(drain_timeout_s=0.2), "blue", 2)
    assert living(three, "blue") == [1, 2, 3] and three.version("blue").drained == ()


def test_scale_that_fails_leaves_alone_what_was_drained_by_hand(three: Rehearsal) -> None:
    drain(three.deployer(), "blue", "1")
    drained = three.version("blue").drained
    script(three, blue_3=[1])
    with pytest.raises(DrainTimedOut):
        scale(three.deployer(drain_timeout_s=0.2), "blue", 2)
    assert three.version("blue").drained == drained


def test_what_is_down_is_mended_by_the_command_that_is_told(three: Rehearsal) -> None:
    kill(three, "blue", 2)
    with pytest.raises(UnhealthyVersion) as caught:
        three.deployer().start("blue")
    assert "restart blue" in caught.value.hint
    three.deployer().restart("blue")
    three.deployer().start("blue")


def test_scale_refuses_what_makes_no_sense(three: Rehearsal) -> None:
    for count in (0, 17):
        with pytest.raises(UsageError, match="from 1 to 16"):
            scale(three.deployer(), "blue", count)
    with pytest.raises(ProcessError, match="green is not running"):
        scale(three.deployer(), "green", 2)
    scale(three.deployer(), "blue", 3)
    assert "blue has 3 processes already" in [event.text for event in three.seen(Noted)]
    kill(three, "blue", 1)
    with pytest.raises(OperatorError, match="no other of its processes gets requests"):
        scale(three.deployer(), "blue", 1)


def test_number_of_processes_that_would_meet_the_other_version_is_refused(three: Rehearsal) -> None:
    three.ports["green"] = three.ports["blue"] + 3 * step()
    state = three.store.read()
    three.store.write(put_version(state, replace(state.version("green"), port=three.ports["green"])))
    with pytest.raises(ConfigError, match="which is one of green's"):
        scale(three.deployer(), "blue", 4)


# --- drain by hand ---------------------------------------------------------------------------------------


def test_one_is_drained_by_its_number_or_address_and_put_back(three: Rehearsal) -> None:
    second, third = three.version("blue").instances[1:]
    script(three, blue_2=[1, 0])
    drain(three.deployer(), "blue", "2")
    drain(three.deployer(), "blue", third)
    assert three.version("blue").drained == (second, third)
    assert [event.version for event in three.seen(Drained)] == ["blue.2", "blue.3"]
    with pytest.raises(OperatorError, match="blue is the active version"):
        drain(three.deployer(), "blue", "1")
    undrain(three.deployer(), "blue", second)
    assert three.version("blue").drained == (third,)
    undrain(three.deployer(), "blue", second)
    assert f"{second} of blue gets requests already" in [event.text for event in three.seen(Noted)]
    drain(three.deployer(), "blue", "1")
    drain(three.deployer(), "blue", "2", force=True)
    assert len(three.version("blue").drained) == 3


def test_one_that_stays_busy_stays_drained(three: Rehearsal) -> None:
    script(three, blue_2=[1])
    with pytest.raises(DrainTimedOut):
        drain(three.deployer(drain_timeout_s=0.2), "blue", "2")
    assert three.version("blue").drained == three.version("blue").instances[1:2]


def test_backend_that_there_is_not_is_told_with_those_that_there_are(three: Rehearsal) -> None:
    with pytest.raises(UsageError, match=r"blue has no backend '4'; it has 1 \(127\.0\.0\.1:"):
        drain(three.deployer(), "blue", "4")


def test_backend_that_others_run_can_be_drained(rehearsal: Rehearsal) -> None:
    deployer = rehearsal.deployer()
    deployer.deployment.backends = BackendsConfig(blue=("10.0.0.1:80", "10.0.0.2:80"))
    drain(deployer, "blue", "10.0.0.2:80")
    assert rehearsal.version("blue").drained == ("10.0.0.2:80",)


# --- kill -9 at every call -------------------------------------------------------------------------------


def test_start_that_is_killed_anywhere_leaves_no_process_that_nobody_knows(deployments: Make) -> None:
    it = deployments(instances=3, instance_port_step=step())
    it.deployer().start("blue")
    start = lambda: it.deployer("start green").start("green")  # noqa: E731  # it is said twice
    calls = calls_of(start)
    for at in range(2, calls + 1, 7):
        it.deployer("stop green").stop("green")
        assert living(it, "green") == [] and it.version("green").instances == ()
        killed_at(start, at, after=bool(at % 2))
        it.deployer("switch blue").switch("blue")
        green = it.version("green")
        assert living(it, "green") == ([1, 2, 3] if green.status == "running" else [])
    assert list(it.history.unfinished()) == []


TURNS: dict[str, Callable[[Rehearsal], None]] = {
    "restart": lambda it: it.deployer("restart blue").restart("blue"),
    "scale 3": lambda it: scale(it.deployer("scale blue 3"), "blue", 3),
    "scale 1": lambda it: scale(it.deployer("scale blue 1"), "blue", 1),
    "drain": lambda it: drain(it.deployer("drain blue"), "blue", "2"),
}

STEPS = {"restart": 5, "scale 3": 3, "scale 1": 2, "drain": 1}


def in_twos(it: Rehearsal) -> None:
    """Two processes serve: what each round begins with, and the command that comes after a killed one."""
    undrain(it.deployer("undrain"), "blue", "1")
    it.deployer("restart blue").restart("blue") if living(it, "blue", 2) != [1, 2] else None
    scale(it.deployer("scale blue 2"), "blue", 2)
    for number in ("1", "2"):
        undrain(it.deployer("undrain"), "blue", number)


@pytest.mark.parametrize("name", TURNS)
def test_command_killed_anywhere_leaves_somebody_who_serves_and_is_put_in_order(deployments: Make, name: str) -> None:
    it = deployments(instances=2, instance_port_step=step())
    it.traffic = FakeTraffic()
    it.deployer().start("blue")
    calls = calls_of(lambda: TURNS[name](it))
    for at in range(1, calls + 1, STEPS[name]):
        in_twos(it)
        blue = it.version("blue")
        assert living(it, "blue") == [1, 2] and (len(blue.instances), blue.drained) == (2, ())
        it.events.clear()
        killed_at(lambda: TURNS[name](it), at, after=bool(at % 2))
        blue = it.version("blue")
        spared = [number for number, address in enumerate(blue.instances, start=1) if address in blue.drained]
        assert set(living(it, "blue", max(1, len(blue.instances)))) - set(spared), "somebody has the requests"
        undrain(it.deployer("the next command"), "blue", "1")
        assert it.processes.strays(it.version("blue")) == []
        if name != "drain":
            dead = set(range(1, len(it.version("blue").instances) + 1)) - set(living(it, "blue"))
            assert len(it.version("blue").drained) <= len(dead)
            stands = it.seen(BrokenOff)[-1].left_behind if it.seen(BrokenOff) else ""
            assert "is stopped" not in stands or stands.startswith(f"process {min(dead)} of blue is stopped")
    assert list(it.history.unfinished()) == []
