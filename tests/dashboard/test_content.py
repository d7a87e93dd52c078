"""What the page shows of an observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.dashboard import content
from app.dashboard.backend_list import RecentRequests
from app.dashboard.canary_panel import GAUGE, canary_panel
from app.dashboard.fleet_panel import fleet_panel
from app.dashboard.observation import Column, Figures, Observation
from app.dashboard.sentence import sentence
from app.fleet.sight import standing_of
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.logins.login_figures import KeyState, LoginFigures
from app.logins.refusals import OUTCOMES
from app.metrics.backend_rows import BackendRow
from app.settings.loading import Loaded, load
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.fleet_settings import FleetConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import BlueGreenState, Maintenance, Pause, with_split, with_version
from app.state.split import Split
from tests.dashboard.observations import (
    AT,
    command,
    fleet,
    flight,
    latency,
    observation,
    past,
    probes,
    rollout,
    snapshot,
    state,
    stats,
    worker_stats,
)

DOWN = snapshot(probes={"blue": probes("++"), "green": probes("+-")})
STARTED_NOW = with_version(state(), "green", started_at=AT + 1)


def card(seen: Observation, name: str) -> content.Card:
    """One of the two cards."""
    return next(one for one in content.cards(seen) if one.name == name)


def plain(text: str) -> str:
    """With ordinary spaces."""
    return text.replace("\u00a0", " ")


class TestCards:
    """Blue and green"""

    def test_blue_is_always_first(self) -> None:
        assert [one.name for one in content.cards(observation(state=state("green")))] == ["blue", "green"]

    def test_roles_are_in_words(self) -> None:
        seen = observation(state=state("green"), minute=snapshot(stats("blue", in_flight=2)))
        assert [one.role for one in content.cards(seen)] == ["Draining", "Active"]
        assert card(observation(), "green").role == "Standby"

    def test_facts(self) -> None:
        facts = {name: plain(value) for name, value in card(observation(), "blue").facts}
        assert facts == {"Release": "1.4.2", "Port": "5005", "Pid": "4011", "Up": "3 h 12 min"}

    def test_version_without_process_has_no_pid_and_no_uptime(self) -> None:
        facts = {row[0]: row[1] for row in card(observation(state=state(green="stopped")), "green").facts}
        assert (facts["Pid"], facts["Up"]) == ("–", "–")

    def test_rate_is_that_of_the_last_ten_seconds(self) -> None:
        columns = (Column(blue=Figures(requests=5000)),) * 295 + (Column(blue=Figures(requests=80)),) * 5
        assert card(observation(short=past(2, columns)), "blue").figures[0][0] == "40"

    def test_oldest_request_in_flight_is_named_from_one_second_on(self) -> None:
        old = snapshot(stats("blue", in_flight=2), rows=[flight("blue", 8.2), flight("blue", 0.2)])
        young = snapshot(stats("blue", in_flight=1), rows=[flight("blue", 0.2)])
        assert plain(card(observation(minute=old), "blue").figures[1][2]) == "oldest 8 s"
        assert card(observation(minute=young), "blue").figures[1][2] == ""

    def test_success_and_percentiles_of_the_last_minute(self) -> None:
        seen = observation(minute=snapshot(stats("blue", 200, 1, total=latency(12.4, 48, 210))))
        blue = card(seen, "blue")
        assert plain(blue.figures[2][0]) == "99.50 %"
        assert [plain(value) for _, value in blue.percentiles] == ["12 ms", "48 ms", "210 ms"]

    def test_totals_since_the_beginning(self) -> None:
        seen = observation(lifetime=snapshot(stats("green", 4_812_330, 912, bytes_=48 << 30)))
        assert [plain(value) for _, value in card(seen, "green").totals] == ["4.81 M", "912", "48.0 GiB"]

    def test_checks_of_the_process_before_do_not_tell_how_this_one_is(self) -> None:
        fresh = with_version(state(), "green", started_at=AT - 1)
        seen = observation(state=fresh, minute=snapshot(probes={"green": [*probes("---")[:-1]]}))
        assert (card(seen, "green").status, card(seen, "green").role) == ("Not checked yet", "Standby")
        assert len(card(seen, "green").checks) == 2

    def test_what_was_not_counted_is_no_zero(self) -> None:
        off = card(observation(metrics_on=False), "blue")
        assert [off.figures[0][0], *(value for _, value in off.totals)] == ["–"] * 4

    def test_status_in_words_and_tone(self) -> None:
        failing = snapshot(probes={"blue": probes("+---"), "green": probes("---")})
        assert (card(observation(minute=failing), "blue").status, card(observation(minute=failing), "blue").tone) == (
            "Failing for 3 checks",
            "bad",
        )
        down = observation(state=state(green="stopped"), minute=failing)
        assert (card(down, "green").status, card(down, "green").tone) == ("Stopped", "off")
        assert card(observation(state=state(green="crashed"), minute=failing), "green").status == "Crashed"
        assert card(observation(state=state(green="starting"), minute=failing), "green").tone == "busy"
        assert card(observation(minute=snapshot()), "blue").status == "Not checked yet"

    def test_each_health_check_says_when_and_why(self) -> None:
        seen = observation(minute=snapshot(probes={"blue": probes("+-")}))
        good, bad = card(seen, "blue").checks
        assert plain(good.text).endswith("ok, status 200, 3.4 ms")
        assert plain(bad.text).endswith("failed, no answer, 3.4 ms: connection refused")
        assert card(seen, "blue").last_check.endswith("connection refused")

    def test_role_of_the_version_that_is_not_active(self) -> None:
        assert card(observation(), "green").role == "Standby"
        assert card(observation(state=state(green="crashed"), minute=snapshot()), "green").role == "Standby"
        assert card(observation(minute=snapshot(stats("green", in_flight=1))), "green").role == "Draining"
        diverted = snapshot(stats("green", in_flight=1), failover_from="blue")
        assert card(observation(minute=diverted), "green").role == "Standing in"

    @pytest.mark.parametrize(
        ("changes", "reached", "role"),
        [
            pytest.param({}, "blue", "Active", id="serving"),
            pytest.param({"minute": snapshot(failover_from="blue")}, "green", "Active", id="failover"),
            pytest.param({"state": replace(state(), pause=Pause(AT, AT + 9))}, None, "Active, paused", id="paused"),
            pytest.param(
                {"state": replace(state(), maintenance=Maintenance(AT))},
                None,
                "Active, in maintenance",
                id="maintenance",
            ),
            pytest.param({"state": state(None)}, None, "Standby", id="none"),
        ],
    )
    def test_arrow_is_where_new_requests_go(self, changes: dict[str, object], reached: str | None, role: str) -> None:
        seen = observation(**changes)
        assert [one.name for one in content.cards(seen) if one.is_reached] == ([reached] if reached else [])
        assert card(seen, "blue").role == role

    @pytest.mark.parametrize(
        ("seen", "name", "outcomes"),
        [
            pytest.param(observation(state=state(green="stopped"), minute=DOWN), "green", "ok off", id="standby"),
            pytest.param(observation(state=state(green="starting"), minute=DOWN), "green", "ok off", id="starting"),
            pytest.param(observation(state=state(green="crashed"), minute=DOWN), "green", "ok failed", id="crashed"),
            pytest.param(observation(minute=DOWN), "green", "ok failed", id="failing"),
            pytest.param(
                observation(state=state("green", green="stopped"), minute=DOWN), "green", "ok failed", id="active"
            ),
            pytest.param(observation(state=STARTED_NOW, minute=DOWN), "green", "ok off", id="before it was started"),
        ],
    )
    def test_check_failed_only_where_an_answer_was_expected(self, seen: Observation, name: str, outcomes: str) -> None:
        assert " ".join(one.outcome for one in card(seen, name).checks) == outcomes

    def test_last_check_of_a_stopped_standby_is_no_complaint(self) -> None:
        down = observation(state=state(green="stopped"), minute=DOWN)
        assert card(down, "green").last_check == "no answer expected"

    def test_active_version_whose_checks_fail_is_not_merely_stopped(self) -> None:
        seen = observation(state=state("green", green="stopped"), minute=DOWN)
        assert (card(seen, "green").status, card(seen, "green").tone) == ("Failing for 1 check", "bad")

    def test_healthy_version_that_errs_is_not_merely_healthy(self) -> None:
        seen = observation(minute=snapshot(stats("blue", 200, 60), probes={"blue": probes("+"), "green": probes("+")}))
        assert [(plain(one.status), one.tone) for one in content.cards(seen)] == [
            ("Healthy, but 30 % fail", "bad"),
            ("Healthy", "good"),
        ]

    def test_held_requests_stand_on_the_active_card(self) -> None:
        seen = observation(minute=snapshot(workers=[worker_stats(1, held=14)]))
        assert card(seen, "blue").figures[1][2] == "14 held"
        assert card(seen, "green").figures[1][2] == ""

    def test_without_any_state_there_are_still_two_cards(self) -> None:
        seen = observation(state=None, minute=snapshot())
        assert [(one.role, one.status) for one in content.cards(seen)] == [("Standby", "Unknown")] * 2
        assert [value for _, value in card(seen, "blue").facts] == ["–"] * 4


class TestTables:
    """Below the charts"""

    @pytest.mark.parametrize(
        ("outcome", "tone", "moved"),
        [("done", "good", "blue → green"), ("doubtful", "busy", "blue → green"), ("failed", "bad", "")],
    )
    def test_command_shows_how_it_ended_and_only_a_move_that_was(self, outcome: str, tone: str, moved: str) -> None:
        (row,) = content.commands(observation(commands=[command("deploy", 60, outcome=outcome)]))
        assert (row[0], row[3]) == (tone, moved)

    def test_command_at_work_says_for_how_long(self) -> None:
        at_work = command("deploy", 5, outcome=None, duration_s=None, phase="draining")
        (row,) = content.commands(observation(commands=[at_work], at_work=[at_work]))
        assert plain(row[5]) == "5.0 s"

    def test_requests_in_flight_are_cut_at_twenty(self) -> None:
        seen = observation(minute=snapshot(rows=[flight("blue", 9.0)] * 30))
        assert len(content.in_flight(seen)) == 20

    def test_commands_newest_first_with_their_ends(self) -> None:
        at_work = command("deploy", 5, outcome=None, duration_s=None, phase="draining")
        killed = command("switch", 900, outcome=None, duration_s=None, phase="gating")
        failed = command("start", 2000, outcome="failed", detail="no answer in 30 s")
        seen = observation(commands=[failed, killed, at_work], at_work=[at_work])
        assert [(row[0], row[4]) for row in content.commands(seen)] == [
            ("busy", "at work: draining"),
            ("bad", "did not come to its end, last seen gating"),
            ("bad", "failed: no answer in 30 s"),
        ]

    def test_workers(self) -> None:
        worker = worker_stats(4100, requests=12_345, in_flight=2, is_leader=True)
        seen = observation(minute=snapshot(workers=[worker]), worker_rates={4100: 12.5})
        (row,) = content.workers(seen)
        assert tuple(map(plain, row)) == ("good", "4100", "worker, leads", "12", "12,345", "2", "1 h 1 min", "0 s ago")

    def test_logins_tell_what_they_refused_and_how_old_their_keys_are(self) -> None:
        counts = [0] * len(OUTCOMES)
        for outcome, count in (("passed", 12_345), ("expired", 2), ("no_token", 7), ("would be scope", 3)):
            counts[OUTCOMES.index(outcome)] = count
        keys = [KeyState("https://id.test/", 2, 71.0, ""), KeyState("/etc/keys.pem", 0, None, "no key in it")]
        seen = observation(minute=snapshot()._replace(logins=LoginFigures(counts, keys)))

        assert content.logins(seen) == [
            ("let through", "12,345", ""),
            ("no_token", "7", "0"),
            ("expired", "2", "0"),
            ("scope", "0", "3"),
        ]
        assert [tuple(map(plain, row)) for row in content.login_keys(seen)] == [
            ("good", "https://id.test/", "2", "1 min 11 s ago", "–"),
            ("bad", "/etc/keys.pem", "0", "never", "no key in it"),
        ]
        assert content.logins(observation()) == content.login_keys(observation()) == []

    def test_limits_that_refuse_most_come_first_with_the_keys_refused_last(self) -> None:
        limits = (LimitFigures("api", 12_345, 1, 2, 0), LimitFigures("login", 5, 0, 0, 70))
        refused = (RefusedKey("api", "10.0.0.7", 1_000, 3.2), RefusedKey("api", "header:X-Api-Key #0a1b2c3d", 1, 60.0))
        seen = observation(minute=snapshot()._replace(limits=limits, refused=refused))

        assert [tuple(map(plain, row)) for row in content.limits(seen)] == [
            ("login", "5", "0", "0", "70", "–"),
            (
                "api",
                "12,345",
                "1",
                "2",
                "0",
                "10.0.0.7 (1,000 times, 3.2 s ago), header:X-Api-Key #0a1b2c3d (once, 1 min 0 s ago)",
            ),
        ]

    def test_secrets_are_masked(self) -> None:
        config, app = RouterConfig(admin_token="hunter2"), AppConfig(env={"KEY": "hunter3"})
        rows = {name: value for name, value, _ in content.settings(Loaded.just(config, app))}
        assert "hunter" not in str(rows)
        assert rows["admin_token"] == "********"
        assert rows["app.env"] == "KEY=********"
        assert rows["read_timeout"] == "30"

    def test_settings_say_where_they_came_from(self) -> None:
        loaded = load({}, {"TRAFFIC_ROUTER_WORKERS": "3"}, {})
        rows = {name: (value, source) for name, value, source in content.settings(loaded)}
        assert rows["workers"] == ("3", "environment TRAFFIC_ROUTER_WORKERS")
        assert rows["main_port"] == ("5004", "default")
        assert rows["response_timeout"] == ("0 · no deadline", "default")


def test_notices_tell_what_is_wrong_with_the_router() -> None:
    seen = observation(state_fault="it is torn", minute=snapshot(fault="the disk is full"), metrics_on=False)
    assert [text.split(":")[0].split(" are ")[0] for text in content.notices(seen)] == ["State", "Metrics", "Metrics"]
    assert content.notices(observation()) == []


def test_headline() -> None:
    assert content.headline(observation()) == "Blue 1.4.2"
    assert content.headline(observation(state=BlueGreenState())) == "No active version"


class TestBackends:
    """Of a version that has several, and of one that others run"""

    ROWS = (
        BackendRow("10.0.0.7:8000", "ok", "", 12_345, 300, 0, 0.0),
        BackendRow("10.0.0.8:8000", "ejected", "too many requests failed in a row", 0, 100, 9, 17.6),
        BackendRow("unix:/run/x", "drained", "taken out by hand", 0, 0, 0, 0.0),
    )

    def seen(self, rows: Sequence[BackendRow] = ROWS, **changes: object) -> Observation:
        minute = snapshot(probes={"blue": probes("+"), "green": probes("+-")})._replace(backends={"blue": rows})
        return observation(minute=minute, **changes)

    def test_each_has_a_line(self) -> None:
        requests = {"blue": {row.address: row.requests for row in self.ROWS}}
        lines = card(self.seen(backend_requests=requests), "blue").backends
        assert [tuple(map(plain, line)) for line in lines] == [
            ("good", "10.0.0.7:8000", "ok", "12,345", "75 %"),
            ("bad", "10.0.0.8:8000", "ejected, 17 s left", "0", "25 %"),
            ("off", "unix:/run/x", "drained", "0", "0 %"),
        ]
        assert card(self.seen(), "green").backends == ()

    def test_without_requests_there_are_no_shares(self) -> None:
        assert {line.share for line in card(self.seen(), "blue").backends} == {"–"}

    def test_status_says_how_many_are_out(self) -> None:
        found = card(self.seen(), "blue")
        assert (found.status, found.tone) == ("Healthy, 1 of 3 out", "busy")
        assert card(self.seen(self.ROWS[:1]), "blue").status == "Healthy"

    def test_place_of_a_version_that_others_run_stands_for_port_and_pid(self) -> None:
        seen = self.seen(elsewhere={"blue": ("10.0.0.7:8000",), "green": ("unix:/run/1", "unix:/run/2")})
        assert card(seen, "blue").facts == [("Release", "1.4.2"), ("At", "10.0.0.7:8000")]
        assert card(seen, "green").facts == [("Release", "1.5.0"), ("At", "2 backends")]

    def test_standby_that_others_run_is_not_called_stopped(self) -> None:
        known = {"state": state(green="stopped"), "elsewhere": {"green": ("10.0.0.9:1",)}}
        seen = self.seen(self.ROWS[:1], **known)
        assert card(seen, "green").status == "Not answering"
        assert sentence(seen, seen.situation).text == "Blue 1.4.2 serves all traffic. Green 1.5.0 does not answer."

    def test_shares_are_those_of_the_last_minute_once_somebody_has_looked(self) -> None:
        recent, first = RecentRequests(), self.ROWS[0]
        looks = [recent.update({"blue": [first._replace(requests=count)]}, at) for count, at in ((300, 10), (340, 40))]
        assert looks == [{"blue": {first.address: 300}}, {"blue": {first.address: 40}}]
        assert recent.update({"blue": [first._replace(requests=350)]}, 71.0) == {"blue": {first.address: 10}}
        assert recent.update({"blue": [first._replace(requests=4)]}, 72.0) == {"blue": {first.address: 0}}
        assert recent.update({}, 500.0) == {}


class TestCanary:
    """A release that has a share of the requests"""

    SHARED = with_split(state(), Split("green", 500, AT + 8, "r42"))

    def test_its_card_says_its_share_though_requests_are_in_flight(self) -> None:
        seen = observation(state=self.SHARED, minute=snapshot(stats("green", in_flight=2)))
        assert [plain(one.role) for one in content.cards(seen)] == ["Active", "Canary, 5 %"]
        over = replace(seen, at=AT + 8)
        assert card(over, "green").role == "Draining"

    def test_what_it_is_judged_by(self) -> None:
        panel = canary_panel(observation(state=self.SHARED, canary=rollout()))
        assert panel is not None
        assert panel.text.endswith("held until it is clear.") and panel.coming == "Next: 25 %."
        assert [plain(" ".join(arm)) for arm in panel.arms] == [
            "green 1.5.0 5 % 640 12 (1.9 %) 330 (52 %) 35 (5.5 %)",
            "blue 1.4.2 95 % 12,160 20 (0.16 %) 6,100 (50 %) 601 (4.9 %)",
        ]
        assert panel.doubt_at < panel.value_at < panel.back_at < GAUGE

    @pytest.mark.parametrize(
        ("evidence", "tone", "at"),
        [(0.2, "good", 0), (1, "good", 0), (10, "busy", 160), (100, "bad", 320), (1e9, "bad", GAUGE)],
    )
    def test_gauge_has_a_place_for_all_that_evidence_can_be(self, evidence: float, tone: str, at: int) -> None:
        panel = canary_panel(observation(state=self.SHARED, canary=rollout(evidence)))
        assert panel is not None
        assert (panel.tone, panel.value_at) == (tone, at)

    def test_what_was_judged_before_says_nothing_of_a_split_by_hand(self) -> None:
        assert canary_panel(observation(state=self.SHARED, canary=rollout(salt="r41"))) is None
        assert canary_panel(observation(state=self.SHARED)) is None
        assert canary_panel(observation(canary=rollout())) is None


class TestFleet:
    """The fleet, as the agent last saw it"""

    def test_each_node_says_how_it_stands(self) -> None:
        panel = fleet_panel(*fleet())
        assert panel.text == "Committed is 1.5.0, epoch 7. web-1, this node: as the fleet has committed."
        assert plain(panel.age) == "etcd answered 2 s ago"
        assert [(row.name, row.state, row.health) for row in panel.nodes] == [
            ("web-1", "as committed", "well"),
            ("web-2", "behind", "–"),
            ("web-3", "as committed", "well"),
        ]

    def test_what_a_node_does_not_obey_is_told(self) -> None:
        panel = fleet_panel(*fleet(epoch=6, alarm="the store is older than it was"))
        assert panel.text.endswith(" the store is older than it was.")
        assert [row.state for row in panel.nodes if row.name != "web-2"] == ["ahead: was a backup restored?"] * 2

    def test_without_a_word_from_the_agent(self) -> None:
        panel = fleet_panel(None, standing_of(None, FleetConfig(name="shop", endpoints=("http://10.0.0.1:2379",)), AT))
        assert (panel.text, panel.age, panel.nodes) == ("isolated: no agent has run here yet.", "", ())
        assert fleet_panel(*fleet(heard_at=0.0, epoch=0)).age == "etcd has never answered"
