"""What a version has to stand around a switch: smoke and post commands, the watch; and what a failure takes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.deploy.deployer import Deployer, Overrides
from app.deploy.events import Event, Noted, Promoted, Ran, ReceiptReady, RolledBack, Running, Watched, Watching
from app.deploy.judge.judgement import Looks
from app.deploy.judge.watching import Evidence
from app.deploy.traffic import Tally, TrafficSample
from app.operator_errors import ConfigError, Doubtful, StateError, SwitchStands, UnhealthyVersion
from app.settings.loading import load
from app.settings.tables.deploy_settings import DeployConfig
from tests.deploy.rehearsal import QUIET, FakeTraffic, Rehearsal


def configure(rehearsal: Rehearsal, **settings: object) -> None:
    rehearsal.deploy_config = DeployConfig(**settings)  # type: ignore[arg-type]  # tests give fields by name


# --- smoke -----------------------------------------------------------------------------------------------


def test_smoke_commands_run_before_the_switch_in_the_versions_place(both: Rehearsal) -> None:
    configure(both, smoke=("sh -c 'echo $BG_VERSION $BG_RELEASE $PORT {port} {release} > smoked'", "true"))
    both.deployer().deploy(Overrides(release="r3"))
    port = both.ports["green"]
    assert (both.home / "green" / "smoked").read_text() == f"green r3 {port} {port} r3\n"
    order = [type(event) for event in both.events if isinstance(event, Running | Ran | Promoted)]
    assert order == [Running, Ran, Running, Ran, Promoted]


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        ("sh -c 'echo cart is empty; exit 3'", "exit status 3"),
        ("sh -c 'kill -9 $$'", "killed by SIGKILL"),
        ("sh -c 'sleep 60 & sleep 60'", "did not end within 0.2 s"),
    ],
)
def test_a_failing_smoke_command_leaves_the_traffic(both: Rehearsal, command: str, failure: str) -> None:
    configure(both, smoke=(command, "touch never"), command_timeout=0.2)
    with pytest.raises(UnhealthyVersion, match=f"green does not stand the smoke test: .*{failure}"):
        both.deployer().deploy(Overrides(release="r3"))
    assert both.state.active_version == "blue"
    assert both.version("green").status == "stopped"
    assert not (both.home / "never").exists()
    assert both.seen(Ran)[0].failure == failure
    assert both.outcomes()[-1] == ("deploy", "unhealthy")


def test_the_output_of_a_failed_command_is_kept(both: Rehearsal) -> None:
    configure(both, smoke=("sh -c 'for i in 1 2 3; do echo line $i; done; echo bad >&2; exit 1'",))
    with pytest.raises(UnhealthyVersion):
        both.deployer().switch("green")
    assert both.seen(Ran)[0].output == ("line 1", "line 2", "line 3", "bad")
    assert both.version("green").status == "running"


def test_force_goes_on_after_a_failed_smoke_command(both: Rehearsal) -> None:
    configure(both, smoke=("false",))
    both.deployer().switch("green", force=True)
    assert both.state.active_version == "green"
    assert any(event.warns and "going on because of --force" in event.text for event in both.seen(Noted))


@pytest.mark.parametrize("name", ["smoke", "post"])
def test_a_command_that_is_not_there_is_found_before_anything_is_done(both: Rehearsal, name: str) -> None:
    configure(both, **{name: ("no-such-program {port}",)})
    with pytest.raises(ConfigError, match="no program 'no-such-program'") as caught:
        both.deployer().deploy(Overrides(release="r3"))
    assert f"[deploy] {name}" in caught.value.hint
    assert both.version("green").release == "r2"


def test_a_command_that_cannot_be_executed_fails(both: Rehearsal) -> None:
    program = both.home / "green" / "smoke.sh"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    configure(both, smoke=("./smoke.sh",))
    with pytest.raises(UnhealthyVersion, match="could not be started: No such file"):
        both.deployer().switch("green")


# --- post ------------------------------------------------------------------------------------------------


def test_post_commands_run_after_the_switch(both: Rehearsal) -> None:
    configure(both, post=(f'grep -q \'"active_version": "green"\' {both.store.path}',))
    both.deployer().switch("green")
    assert both.state.active_version == "green"


def test_a_failing_post_command_takes_the_switch_back(both: Rehearsal) -> None:
    configure(both, post=("false",))
    before = both.state.previous_version
    with pytest.raises(UnhealthyVersion, match="green was active, and a post command failed: `false`: exit status 1"):
        both.deployer().deploy(Overrides(release="r3"), stop_old=True)
    assert (both.state.active_version, both.state.previous_version) == ("blue", before)
    assert both.seen(RolledBack) == [RolledBack("blue", f"port {both.ports['blue']}", "green", has_router=False)]
    assert both.version("green").status == "running"
    entry = both.history.entries()[-1]
    assert (entry.outcome, entry.has_switched) == ("rolled back", False)


def test_rollback_does_not_lead_to_what_a_post_command_has_found_wanting(both: Rehearsal) -> None:
    both.deployer().switch("green")
    both.deployer().rollback()
    assert both.state.previous_version == "green"
    configure(both, post=("false",))
    with pytest.raises(UnhealthyVersion):
        both.deployer().deploy(Overrides(release="bad"))
    with pytest.raises(StateError, match="nothing to roll back to"):
        both.deployer().rollback()
    assert both.state.active_version == "blue"


def test_the_first_version_has_nothing_to_go_back_to(rehearsal: Rehearsal) -> None:
    configure(rehearsal, post=("false",))
    with pytest.raises(SwitchStands, match="is the active version still"):
        rehearsal.deployer().deploy(Overrides(release="r1"))
    assert rehearsal.state.active_version == "blue"
    assert "traffic was left with blue" in rehearsal.seen(Noted)[-1].text


def test_traffic_is_not_given_back_to_a_version_that_does_not_run(both: Rehearsal) -> None:
    pid = both.version("blue").pid
    configure(both, post=(f"sh -c 'kill -9 {pid}; while kill -0 {pid} 2>/dev/null; do :; done; exit 1'",))
    with pytest.raises(SwitchStands, match="is the active version still"):
        both.deployer().switch("green")
    assert both.state.active_version == "green"
    assert "blue does not run any more" in both.seen(Noted)[-1].text


def test_ctrl_c_in_a_post_command_takes_the_switch_back(both: Rehearsal) -> None:
    configure(both, post=("true",))

    def report(event: Event) -> None:
        if isinstance(event, Running):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Deployer(replace(both.deployment(), report=report), both.history, "switch").switch("green")
    assert both.state.active_version == "blue"


def test_a_rollback_does_without_checks(both: Rehearsal) -> None:
    both.deployer().switch("green")
    configure(both, smoke=("false",), post=("false",))
    both.deployer().rollback()
    assert both.state.active_version == "blue"


# --- watch -----------------------------------------------------------------------------------------------

WELL = TrafficSample(1000, 0, 20.0)


def traffic(*after: tuple[int, int], p95_ms: float = 20.0) -> FakeTraffic:
    """Blue did well; of green's requests since the switch so many ended and failed, look by look."""
    # What an earlier release called green did before the switch must not count.
    earlier = QUIET._replace(ended=500, failed=400)
    looks = [QUIET._replace(ended=500 + ended, failed=400 + failed) for ended, failed in after]
    return FakeTraffic(
        counts={"green": [earlier, earlier, *looks]},
        conducts={"blue": [WELL], "green": [TrafficSample(999, 999, p95_ms)]},
    )


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (WELL, TrafficSample(3, 1, 20.0), ""),
        (WELL, TrafficSample(4, 4, 20.0), ""),
        (
            WELL,
            TrafficSample(5, 5, 20.0),
            "100.0 % (5 of 5) of its requests failed; before the switch 0.0 % (0 of 1000)",
        ),
        (WELL, TrafficSample(3000, 30, 20.0), ""),
        (WELL, TrafficSample(3000, 60, 20.0), "2.0 % (60 of 3000)"),
        (TrafficSample(1000, 300, 20.0), TrafficSample(1000, 310, 20.0), ""),
        (TrafficSample(1000, 300, 20.0), TrafficSample(1000, 500, 20.0), "50.0 %"),
        (TrafficSample(0, 0, None), TrafficSample(100, 6, 20.0), ""),
        (TrafficSample(0, 0, None), TrafficSample(100, 20, 20.0), "before the switch none were made"),
        (WELL, TrafficSample(0, 0, None), ""),
        (TrafficSample(100, 8, 20.0), TrafficSample(238, 54, 20.0), "22.7 % (54 of 238)"),
    ],
)
def test_more_errors_need_evidence(before: TrafficSample, after: TrafficSample, found: str) -> None:
    said = Evidence(before, after).errors(Looks.last())
    assert found in said
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (WELL, TrafficSample(1000, 0, 69.0), ""),
        (WELL, TrafficSample(1000, 0, 71.0), "95 % of its requests took up to 71 ms; before the switch 20 ms"),
        (WELL, TrafficSample(49, 0, 900.0), ""),
        (TrafficSample(49, 0, 20.0), TrafficSample(1000, 0, 900.0), ""),
        (TrafficSample(1000, 0, 200.0), TrafficSample(1000, 0, 390.0), ""),
        (TrafficSample(1000, 0, None), TrafficSample(1000, 0, 390.0), ""),
    ],
)
def test_slowness_needs_evidence(before: TrafficSample, after: TrafficSample, found: str) -> None:
    assert Evidence(before, after).slowness() == found


def test_a_watched_deploy_that_does_well_stands(both: Rehearsal) -> None:
    both.traffic = traffic((100, 0), p95_ms=21.0)
    both.deployer().deploy(Overrides(release="r3"), watch_s=0.1)
    assert both.state.active_version == "green"
    (watched,) = both.seen(Watched)
    assert watched[:3] == ("green", WELL, TrafficSample(100, 0, 21.0))
    assert watched.errors == "none too many; 5 failed would be a proof"
    assert watched.times == "none too long; the limit is 70 ms"
    assert both.history.entries()[-1].facts["watch"] == {
        "before": WELL._asdict(),
        "after": TrafficSample(100, 0, 21.0)._asdict(),
        "errors": watched.errors,
        "times": watched.times,
    }


@pytest.mark.parametrize(
    ("before", "after", "errors", "times"),
    [
        (WELL, TrafficSample(0, 0, None), "not judged, for no request came", "not compared, which takes 50"),
        (WELL, TrafficSample(3, 0, 20.0), "none too many; a proof needs more requests", "not compared"),
        (
            TrafficSample(100, 8, 20.0),
            TrafficSample(238, 54, 71.0),
            "proven (47 failed are enough)",
            "too slow: the limit is 70 ms",
        ),
        (
            TrafficSample(100, 8, 20.0),
            TrafficSample(238, 40, 20.0),
            "more than before, not proven: chance alone does that in 2.2 % of all cases; 47 failed would be a proof",
            "none too long; the limit is 70 ms",
        ),
    ],
)
def test_the_judgement_says_what_it_needs(before: TrafficSample, after: TrafficSample, errors: str, times: str) -> None:
    evidence = Evidence(before, after)
    assert errors in evidence.of_errors()
    assert times in evidence.of_times()


def test_a_doubtful_release_stands_and_says_so(both: Rehearsal) -> None:
    both.traffic = traffic((3, 1))
    with pytest.raises(Doubtful, match=r"green is active, but doubtful: 33.3 % \(1 of 3\)") as caught:
        both.deployer().deploy(Overrides(release="r3"), watch_s=0.1, stop_old=True)
    assert caught.value.exit_code == 5
    assert "rollback   # blue still runs" in caught.value.hint
    assert both.state.active_version == "green"
    assert both.version("blue").status == "running", "stop_old must not take the way back away"
    entry = both.history.entries()[-1]
    assert (entry.outcome, entry.has_switched) == ("doubtful", True)


def test_what_chance_explains_is_no_doubt(both: Rehearsal) -> None:
    both.traffic = traffic((20, 1))
    both.deployer().deploy(Overrides(release="r3"), watch_s=0.1)
    assert both.outcomes()[-1] == ("deploy", "done")


@pytest.mark.parametrize("looks", [[(60, 9)], [(20, 5)]])
def test_a_ceiling_needs_no_proof(both: Rehearsal, looks: list[tuple[int, int]]) -> None:
    seen = traffic(*looks)
    seen.conducts["blue"] = [TrafficSample(50, 4, 20.0)]
    both.traffic = seen
    assert Evidence(TrafficSample(50, 4, 20.0), TrafficSample(*looks[0], 20.0)).errors(Looks.last(), is_last=True) == ""
    configure(both, watch_max_errors=5.0)
    with pytest.raises(UnhealthyVersion, match=r"no more than 5 % on top are allowed \(watch_max_errors\)"):
        both.deployer().deploy(Overrides(release="r3"), watch_s=0.1)
    assert both.state.active_version == "blue"


def test_a_ceiling_is_not_held_against_a_few_requests_while_more_may_come() -> None:
    some = Evidence(TrafficSample(50, 4, 20.0), TrafficSample(20, 5, 20.0), allowance=0.05)
    assert some.errors(0.0) == ""
    assert some.errors(0.0, is_last=True) != ""


@pytest.mark.parametrize(("given", "percent"), [("5%", 5.0), ("0.5 %", 0.5), (7, 7.0), (0, 0.0)])
def test_a_ceiling_is_given_in_per_cent(given: object, percent: float) -> None:
    assert load({}, {}, {"deploy": {"watch_max_errors": given}}).deploy.watch_max_errors == percent


@pytest.mark.parametrize("given", ["101%", "-1%", "5s", "five", True, "%"])
def test_what_is_no_share_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="watch_max_errors = .*expected a number of percent from 0 to 100"):
        load({}, {}, {"deploy": {"watch_max_errors": given}})


def test_a_watched_deploy_that_does_worse_is_taken_back_at_once(both: Rehearsal) -> None:
    both.traffic = traffic((1, 1), (40, 20))
    with pytest.raises(UnhealthyVersion, match=r"green does worse than blue did: 50.0 % \(20 of 40\)"):
        both.deployer().deploy(Overrides(release="r3"), watch_s=600, stop_old=True)
    assert both.state.active_version == "blue"
    assert len(both.seen(Watching)) == 2
    assert both.outcomes()[-1] == ("deploy", "rolled back")


def test_slowness_is_judged_at_the_end_of_the_watch(both: Rehearsal) -> None:
    both.traffic = traffic((100, 0), p95_ms=500.0)
    with pytest.raises(UnhealthyVersion, match="took up to 500 ms"):
        both.deployer().deploy(Overrides(release="r3"), watch_s=0.1)
    assert both.state.active_version == "blue"


def test_without_a_router_there_is_nothing_to_watch(both: Rehearsal) -> None:
    both.deployer().deploy(Overrides(release="r3"), watch_s=600)
    assert Noted("nothing to watch: the router is not running") in both.events


# --- receipt ---------------------------------------------------------------------------------------------


def test_a_switch_has_a_receipt_in_the_history(both: Rehearsal) -> None:
    old = [QUIET, QUIET._replace(ended=4), QUIET._replace(ended=11, cut=1, failed=1)]  # four came before the switch
    new = [QUIET, QUIET, QUIET._replace(in_flight=3)]
    both.traffic = FakeTraffic({"blue": [2, 0]}, counts={"blue": old, "green": new})
    both.deployer().switch("green", wait=True)
    (ready,) = both.seen(ReceiptReady)
    blue, green = ready.receipt.accounts["blue"], ready.receipt.accounts["green"]
    assert (blue.started, blue.finished, blue.cut, blue.in_flight) == (7, 6, 1, 0)
    assert (green.started, green.in_flight) == (3, 3)
    assert both.history.entries()[-1].facts["receipt"] == ready.receipt.as_json()


def test_metrics_that_were_begun_anew_leave_no_receipt(both: Rehearsal) -> None:
    before = Tally(9, 0, 0, 0, 0, 0.0, 0)
    both.traffic = FakeTraffic(counts={"blue": [before, before, QUIET]})
    both.deployer().switch("green")
    assert both.seen(ReceiptReady) == []
    assert any("no receipt" in event.text for event in both.seen(Noted))
    assert both.history.entries()[-1].facts == {}


def test_the_settings_take_one_command_or_a_list() -> None:
    one = load({}, {}, {"deploy": {"smoke": "curl -f 'http://x/a b'", "post": ["true", "curl -f x"]}}).deploy
    assert one.smoke == ("curl -f 'http://x/a b'",)
    assert one.post == ("true", "curl -f x")
    with pytest.raises(ConfigError, match="smoke = .*expected a list of commands"):
        load({}, {}, {"deploy": {"smoke": ["'unclosed", ""]}})
    with pytest.raises(ConfigError, match="smok: no such setting; did you mean smoke"):
        load({}, {}, {"deploy": {"smok": []}})
