"""A version that fails, or loses the traffic, while the command that made it active is still at work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.address import Address
from app.deploy.deployer import Deployer, Overrides
from app.deploy.events import (
    Diagnosed,
    Drained,
    Draining,
    Event,
    Promoted,
    Ran,
    ReceiptReady,
    RolledBack,
    Stopped,
    Watching,
)
from app.deploy.traffic import TrafficSample
from app.operator_errors import SwitchStands, TrafficTaken, UnhealthyVersion
from app.settings.tables.deploy_settings import DeployConfig
from tests.deploy.rehearsal import QUIET, FakeTraffic, Rehearsal
from tests.support.waiting import wait_until

WELL = TrafficSample(0, 0, None)


@pytest.fixture
def both(both: Rehearsal) -> Rehearsal:
    """Blue is busy, and nobody asks for anything else."""
    both.traffic = FakeTraffic({"blue": [1]}, conducts={"blue": [WELL], "green": [WELL]})
    return both


def at(rehearsal: Rehearsal, kind: type[Event], act: Callable[[], object]) -> Deployer:
    """A deployer that does something else, once, when the first event of that kind is told after the switch."""
    is_done: list[bool] = []

    def report(event: Event) -> None:
        rehearsal.events.append(event)
        if isinstance(event, kind) and rehearsal.seen(Promoted) and not is_done:
            is_done.append(True)
            act()

    return Deployer(replace(rehearsal.deployment(), report=report), rehearsal.history, "deploy --release=r3")


def kill(rehearsal: Rehearsal, name: str = "green") -> None:
    rehearsal.kill(name)
    wait_until(lambda: not rehearsal.processes.find(rehearsal.version(name)).alive, f"{name}'s end")


FAILURES: dict[str, tuple[Callable[[Rehearsal], object], str]] = {
    "ends": (kill, r"green has ended \(killed by SIGKILL\)"),
    "fails its health checks": (
        lambda it: (it.home / "broken").touch(),
        "green is not healthy any more: status 500, expected 200-399",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_version_that_fails_during_the_drain_fails_the_deploy(both: Rehearsal, failure: str) -> None:
    act, said = FAILURES[failure]
    with pytest.raises(SwitchStands, match=f"{said}; green is the active version still") as caught:
        at(both, Draining, lambda: act(both)).deploy(Overrides(release="r3"), stop_old=True)
    assert caught.value.exit_code == 1
    assert "rollback   # blue still runs" in caught.value.hint
    assert both.state.active_version == "green"
    assert both.version("blue").status == "running", "it is the way back"
    assert both.outcomes()[-1] == ("deploy", "unhealthy")
    (shown,) = both.seen(Diagnosed)
    assert "tiny app, release r3" in shown.log_tail
    assert both.history.entries()[-1].facts["receipt"]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", [Watching, Draining])
def test_with_a_watch_it_goes_back_by_itself(both: Rehearsal, kind: type[Event], failure: str) -> None:
    """In the watch itself and in the drain after it."""
    act, said = FAILURES[failure]
    watch_s = 600.0 if kind is Watching else 0.1
    with pytest.raises(UnhealthyVersion, match=said) as caught:
        at(both, kind, lambda: act(both)).deploy(Overrides(release="r3"), stop_old=True, watch_s=watch_s)
    assert caught.value.exit_code == 3
    assert both.state.active_version == "blue"
    assert both.seen(RolledBack)
    assert both.outcomes()[-1] == ("deploy", "rolled back")


def test_what_cannot_be_taken_back_is_not_said_to_be(both: Rehearsal) -> None:
    def kill_both() -> None:
        kill(both, "blue")
        kill(both, "green")

    with pytest.raises(SwitchStands, match="green has ended"):
        at(both, Watching, kill_both).deploy(Overrides(release="r3"), watch_s=600)
    assert both.state.active_version == "green"
    assert both.outcomes()[-1] == ("deploy", "unhealthy")


def test_a_version_that_ends_in_a_post_command_has_not_stood_it(both: Rehearsal) -> None:
    both.deploy_config = DeployConfig(post=("true",))
    with pytest.raises(UnhealthyVersion, match="green has ended"):
        at(both, Ran, lambda: kill(both)).deploy(Overrides(release="r3"))
    assert both.state.active_version == "blue"
    assert both.outcomes()[-1] == ("deploy", "rolled back")


def test_a_version_that_ends_when_the_old_one_is_stopped_is_told(both: Rehearsal) -> None:
    both.traffic = None
    with pytest.raises(SwitchStands, match="green has ended") as caught:
        at(both, Stopped, lambda: kill(both)).deploy(Overrides(release="r3"), stop_old=True)
    assert caught.value.hint.endswith("rollback")


@pytest.mark.parametrize("name", ["switch", "rollback"])
def test_a_switch_that_waits_looks_as_well(both: Rehearsal, name: str) -> None:
    both.deployer().switch("green")
    both.deployer().switch("blue")
    both.events.clear()
    deployer = at(both, Draining, lambda: kill(both))
    with pytest.raises(SwitchStands, match="green has ended"):
        deployer.switch("green", wait=True) if name == "switch" else deployer.rollback(wait=True)


def test_one_failed_health_check_is_no_failure(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"blue": [1] * 15 + [0]})
    deployment = both.deployment()
    asked: list[bool] = []

    def probe(address: Address, app: object) -> object:
        result = deployment.gate.probe(address, deployment.app)
        asked.append(True)
        return result._replace(ok=len(asked) != 4, reason="a moment of load") if len(asked) == 4 else result

    flaky = replace(deployment, gate=replace(deployment.gate, probe=probe))  # type: ignore[arg-type]
    Deployer(flaky, both.history, "deploy").deploy(Overrides(release="r3"))
    assert len(asked) > 4
    assert both.outcomes()[-1] == ("deploy", "done")


def test_a_forced_switch_asks_no_more_than_was_forced(both: Rehearsal) -> None:
    (both.home / "broken").touch()
    both.traffic = FakeTraffic({"blue": [1, 0]})
    both.deployer().switch("green", force=True, wait=True)
    assert both.outcomes()[-1] == ("switch", "done")


# --- the traffic goes elsewhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Watching, Draining, Drained])
def test_a_deploy_that_lost_the_traffic_says_to_whom(both: Rehearsal, kind: type[Event]) -> None:
    both.traffic = FakeTraffic({"blue": [1, 1, 0]}) if kind is Drained else both.traffic
    watch_s = 600.0 if kind is Watching else 0.0
    with pytest.raises(TrafficTaken) as caught:
        at(both, kind, lambda: both.deployer("rollback").rollback()).deploy(
            Overrides(release="r3"), watch_s=watch_s, stop_old=True
        )
    assert "green was made active, and `rollback` (pid " in str(caught.value)
    assert "gave the traffic to blue meanwhile" in str(caught.value)
    assert caught.value.exit_code == 1
    assert both.outcomes()[-2:] == [("deploy", "superseded"), ("rollback", "done")]
    assert both.version("blue").status == both.version("green").status == "running"
    assert len(both.seen(ReceiptReady)) == 2, "each command has its own"


# --- few requests -----------------------------------------------------------------------------------------


def test_one_client_that_has_to_wait_counts(both: Rehearsal) -> None:
    """It asks in sequence, and the version takes its requests only at the second attempt."""
    seen = [QUIET] * 3 + [QUIET._replace(ended=2, held=2)]
    both.traffic = FakeTraffic(counts={"green": seen}, conducts={"blue": [WELL], "green": [WELL]})
    with pytest.raises(UnhealthyVersion, match="2 of its 2 requests failed or had to wait"):
        both.deployer().deploy(Overrides(release="r3"), watch_s=0.2)
    assert both.state.active_version == "blue"


def test_requests_that_wait_in_a_pause_say_nothing(both: Rehearsal) -> None:
    seen = [QUIET] * 3 + [QUIET._replace(ended=2, held=2)]
    both.traffic = FakeTraffic(counts={"green": seen}, conducts={"blue": [WELL], "green": [WELL]})
    both.modes().pause(60)
    both.deployer().deploy(Overrides(release="r3"), watch_s=0.2)
    assert both.outcomes()[-1] == ("deploy", "done")


def test_a_failover_in_the_watch_is_a_failure(both: Rehearsal) -> None:
    traffic = FakeTraffic(conducts={"blue": [WELL], "green": [WELL]})
    both.traffic = traffic
    with pytest.raises(UnhealthyVersion, match="it is down, and blue stands in for it"):
        at(both, Watching, lambda: setattr(traffic, "down", "green")).deploy(Overrides(release="r3"), watch_s=600)
    assert both.state.active_version == "blue"
