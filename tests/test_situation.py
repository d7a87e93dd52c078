"""Every situation in every place: both command lines, the health endpoint, the metrics and the page say the same.

Each situation is made at the seam: a state file, a metrics file with what workers would have written, and ports that
answer or do not. What is asked then is the real code.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.address import Address
from app.cli import blue_green_deploy, traffic_router
from app.cli.entry import run
from app.command_line import PROGRAM
from app.facts import Checks, Facts, Recent, Restarts
from app.metrics import layout
from app.metrics.backend_rows import BackendRow
from app.metrics.cells import Cell, write_cell
from app.metrics.histogram import COARSE_SHIFT, bucket_index
from app.metrics.recent import recent
from app.metrics.shared import SharedMetrics, monotonic_us
from app.metrics.snapshot import FailedRequest
from app.routing.roster import Ejection
from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.situation import HELD_BACK, KINDS, SEEN_FROM_OUTSIDE, Grade, decide
from app.state.codec import encode
from app.state.given_up import given_up
from app.state.model import (
    BlueGreenState,
    Maintenance,
    Pause,
    VersionState,
    promote,
    put_version,
    with_split,
    with_version,
)
from app.state.split import Split
from app.state.store import StateStore
from app.units import ms_text, plain
from app.web import RouterApp, create_app
from tests.cli.conftest import home  # noqa: F401  # a home without settings
from tests.dashboard.observations import stats
from tests.support.canned_router import CannedRouter
from tests.support.router_process import free_port
from tests.support.waiting import wait_until

Captured = pytest.CaptureFixture[str]

ON_BLUE = promote(BlueGreenState(), "blue", 1.0)


@dataclass
class Site:
    """A deployment without processes: versions are HTTP servers of ours, or closed ports."""

    folder: Path
    ports: dict[str, int]
    state: BlueGreenState
    worker: RouterApp
    is_open: bool = True

    @property
    def path(self) -> Path:
        """The state file."""
        return self.folder / ".local_context" / "bg_state.json"

    def put(self, state: BlueGreenState) -> None:
        """Record a state."""
        self.state = state
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(encode(state))
        fresh.replace(self.path)

    def close(self) -> None:
        """The router ends."""
        if self.is_open:
            self.worker.service.slot.close()
            self.worker.service.metrics.close()
        self.is_open = False

    def probed(self, **ok: bool) -> None:
        """Record health checks."""
        for name, is_ok in ok.items():
            index, reason = self.state.version(name).index, "" if is_ok else "connection refused"
            self.worker.service.metrics.write_probe(index, time.time(), is_ok, 200 if is_ok else 0, 900, reason)

    def get(self, path: str) -> tuple[int, str]:
        """The status and the text of an answer to somebody on this machine."""
        answer = self.worker.test_client().get(path)
        return answer.status_code, answer.get_data(as_text=True)


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:  # noqa: F811
    """Blue is active and well, so is green."""
    (home / ".local_context").mkdir()
    monkeypatch.setattr("app.metrics.recent._FEW_TENS", 3)  # the machine may have been started just now
    with CannedRouter() as blue, CannedRouter() as green:
        ports = {"blue": blue.port, "green": green.port}
        state = BlueGreenState(active_version="blue", switched_at=time.time() - 3970, previous_version="green")
        for name, release in (("blue", "1.4.2"), ("green", "1.5.0")):
            version = VersionState(name, ports[name], release, started_at=time.time() - 5000, status="running")
            state = put_version(state, version)
        main_port = free_port()
        monkeypatch.setenv("TRAFFIC_ROUTER_MAIN_PORT", str(main_port))
        worker = create_app(Loaded.just(RouterConfig(main_port=main_port, state_file=".local_context/bg_state.json")))
        worker.service.metrics.try_lead()
        found = Site(home, ports, state, worker)
        found.put(state)
        found.probed(blue=True, green=True)
        yield found
        found.close()


def serving(site: Site) -> None:
    """Nothing is out of the ordinary."""


def switched(site: Site) -> None:
    site.put(promote(site.state, "green", time.time() - 5))


def draining(site: Site) -> None:
    site.worker.service.slot.start(1, b"GET", b"/report", monotonic_us())


def maintenance(site: Site) -> None:
    site.put(replace(site.state, maintenance=Maintenance(time.time() - 3670, "Back at nine")))


def paused(site: Site) -> None:
    site.put(replace(site.state, pause=Pause(time.time() - 5, time.time() + 60)))


def crashed(site: Site) -> None:
    site.put(with_version(site.state, "blue", port=free_port(), pid=2**22 + 1, pid_birth="gone"))


def failing(site: Site) -> None:
    site.put(with_version(site.state, "blue", port=free_port()))
    site.probed(blue=False)


def failover(site: Site) -> None:
    failing(site)
    site.worker.service.slot.divert(0, monotonic_us())


def wait_for_blue(metrics: SharedMetrics, field: str, count: int) -> None:
    """Wait until so many of blue's requests are among the last minute's figures."""

    def is_counted() -> bool:
        metrics.fold()
        return bool(getattr(metrics.snapshot(60).versions["blue"], field) == count)

    wait_until(is_counted, f"{count} {field} in the last minute's figures")


def erring(site: Site) -> None:
    metrics, slot = site.worker.service.metrics, site.worker.service.slot
    for _ in range(20):
        slot.finish(
            slot.start(0, b"GET", b"/", monotonic_us()),
            0,
            status=500,
            total_us=1000,
            first_byte_us=900,
            upstream_us=800,
        )
    wait_for_blue(metrics, "failed", 20)


def slow(site: Site) -> None:
    """Five milliseconds for minutes, then half a second."""
    metrics, slot = site.worker.service.metrics, site.worker.service.slot
    usual = Cell()
    usual.counts[layout.CODE_CLASSES.index("2xx")] = 100
    usual.counts[layout.CELL_BUCKETS + (bucket_index(5000) >> COARSE_SHIFT)] = 100
    metrics.fold()  # the first one fills the rings
    now_ten = monotonic_us() // 10_000_000
    for ten in range(now_ten - 12, now_ten - 6):
        write_cell(metrics.mapped.memory, memoryview(metrics.mapped.memory).cast("Q"), layout.TENS, ten, usual)
    for _ in range(120):
        slot.finish(
            slot.start(0, b"GET", b"/", monotonic_us()),
            0,
            status=200,
            total_us=500_000,
            first_byte_us=900,
            upstream_us=800,
        )
    wait_for_blue(metrics, "requests", 120)


def reduced(site: Site) -> None:
    """One of two backends is left alone for a minute."""
    places = [Address("127.0.0.1", port) for port in (site.ports["blue"], free_port())]
    site.put(with_version(site.state, "blue", backends=tuple(map(str, places))))
    metrics, slot = site.worker.service.metrics, site.worker.service.slot
    site.worker.service.router.look()  # who is new to it is taken for well
    words = metrics.backends(slot, 0)
    words.name(places)
    words.say_out(1, Ejection(monotonic_us() + 60_000_000, 1).word)
    slot.beat(monotonic_us() + 60_000_000)


def shared(site: Site) -> None:
    site.put(with_split(site.state, Split("green", 500, time.time() + 600)))


def stale(site: Site) -> None:
    site.get("/__router_health")
    StateStore(site.path).keep_as_good()
    site.path.write_text('{"active_version": "blue"')


def unknown(site: Site) -> None:
    site.path.write_text('{"active_version": "blue"')


def inactive(site: Site) -> None:
    site.put(replace(site.state, active_version=None))


@dataclass(frozen=True)
class Row:
    """How a situation is made, how its sentence begins, what it advises, and the exit code of a command that cannot
    read what the router still knows."""

    make: Callable[[Site], None]
    text: str
    advice: str = ""
    deploy_exit: int | None = None


ERRING = (
    "Blue 1.4.2 serves all traffic, but 100 % of the last minute's requests failed: 20 with the application's own 500"
)

ROWS = {
    "unknown": Row(unknown, "No version is known, so every request is answered with 503: ", "status", 1),
    "inactive": Row(inactive, "No version is active, so every request is answered with 503.", "switch blue"),
    "maintenance": Row(maintenance, "Maintenance for 1 h 1 min: clients are answered with 503", "maintenance off"),
    "paused": Row(paused, "Traffic to blue 1.4.2 is paused: new requests wait, for ", "resume"),
    "failover": Row(failover, "Blue 1.4.2 is down; green 1.5.0 stands in until blue is healthy again", "switch green"),
    "crashed": Row(crashed, "Blue 1.4.2 is active but crashed", "switch green"),
    "failing": Row(failing, "Blue 1.4.2 is active but failed the last health check: ", "switch green"),
    "erring": Row(erring, ERRING, "switch green"),
    "slow": Row(slow, "Blue 1.4.2 serves all traffic, but slowly: in the last minute 95 % of its", "switch green"),
    "reduced": Row(
        reduced, "Blue 1.4.2 serves all traffic, but 1 of its 2 backends is out: 127.0.0.1:", "health-check"
    ),
    "shared": Row(shared, "Blue 1.4.2 serves 95 % of the traffic, and green 1.5.0 5 %."),
    "draining": Row(draining, "Switched to blue 1.4.2 1 h 6 min ago; green still finishes 1 request"),
    "stale": Row(stale, "Blue 1.4.2 serves all traffic. The state file is broken: ", "repair"),
    "switched": Row(switched, "Switched to green 1.5.0 "),
    "serving": Row(serving, "Blue 1.4.2 serves all traffic."),
}


def test_no_situation_is_left_out() -> None:
    assert set(ROWS) | SEEN_FROM_OUTSIDE == set(KINDS)


@pytest.mark.parametrize("word", ROWS)
def test_every_place_says_the_same(site: Site, capsys: Captured, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    row, kind = ROWS[word], KINDS[word]
    row.make(site)
    advice = f"python3 bin/blue_green_deploy {row.advice}" if row.advice else None

    status, body = site.get("/__router_health")
    report = json.loads(body)
    said = report["situation"]
    assert (said["word"], said["severity"], said["exit_code"]) == (word, kind.grade.value, kind.exit_code)
    assert said["sentence"].startswith(row.text)
    assert said["advice"] == advice
    assert (status, report["status"]) == ((200, "healthy") if kind.is_fit else (503, "unhealthy"))

    scraped = site.get("/__router_metrics?format=prometheus")[1]
    gauges = dict(re.findall(r'^traffic_router_situation{situation="(.*)"} (.*)$', scraped, re.M))
    assert [name for name, value in gauges.items() if value == "1.0"] == [word]
    assert set(gauges) == set(ROWS)

    page = plain(html.unescape(site.get("/monitoring")[1]))
    assert row.text in page
    assert f'data-tone="{kind.tone}"' in page
    title = page.partition("<title>")[2].partition("</title>")[0]
    is_named = kind.grade is not Grade.OK and site.state.active_version is not None and word != "unknown"
    assert title.startswith("⚠ ") == (kind.tone == "alarm")
    assert (f"{word.capitalize()}: " in title) == is_named
    assert advice is None or f"<code>{advice}</code>" in page

    with CannedRouter() as canned:
        canned.answers["/__router_health"] = (status, report)
        port = f"--port={canned.port}"
        assert run(traffic_router.main, ["status", port]) == kind.exit_code
        out = capsys.readouterr().out
        assert run(traffic_router.main, ["status", "--json", port]) == kind.exit_code
        assert json.loads(capsys.readouterr().out) == report
        tested = run(traffic_router.main, ["test", port])
        tests = capsys.readouterr().out
    assert ("Router: HEALTHY" in out) == (kind.exit_code == 0)
    assert (row.text in out) == (kind.grade is not Grade.OK)
    assert (f"Try: {advice}" in out) == (advice is not None)
    if kind.exit_code == HELD_BACK:
        assert f"Router: {word.upper()}" in out
        assert tested == 1
        assert tests.count(f"not tested: {row.text}") == 2

    code = kind.exit_code if row.deploy_exit is None else row.deploy_exit
    assert run(blue_green_deploy.main, ["status", "--json"]) == code
    out = capsys.readouterr().out
    if row.deploy_exit is None:
        said = json.loads(out)["situation"]
        assert (said["word"], said["advice"]) == (word, advice)
        assert said["sentence"].startswith(row.text)
        assert run(blue_green_deploy.main, ["status"]) == code
        out = plain("".join(capsys.readouterr()))
        assert ("❌" in out or "⚠️" in out) or kind.grade is Grade.OK or kind.exit_code == HELD_BACK
        assert advice is None or advice in out


def test_a_router_that_is_gone_is_told_by_both_commands(site: Site, capsys: Captured) -> None:
    site.close()
    assert run(traffic_router.main, ["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["situation"]["word"] == "silent"
    assert run(blue_green_deploy.main, ["status", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["situation"]
    assert (said["word"], said["advice"]) == ("silent", "python3 bin/traffic_router start")
    assert run(blue_green_deploy.main, ["status"]) == 1
    assert "❌ The router does not answer, so nobody is served" in capsys.readouterr().out


def test_where_nothing_was_started_nothing_is_wrong(home: Path, capsys: Captured) -> None:  # noqa: F811
    assert run(blue_green_deploy.main, ["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["situation"]["word"] == "new"
    assert run(blue_green_deploy.main, ["status"]) == 0
    assert f"Nothing was started here yet: there is no {home}/.local_context/bg_state.json" in capsys.readouterr().out


def test_a_router_without_its_pid_file_is_not_called_stopped(site: Site, capsys: Captured) -> None:
    assert run(blue_green_deploy.main, ["status"]) == 0
    assert "Router: running, but its pid file is gone" in capsys.readouterr().out


def test_trouble_during_maintenance_is_told_and_mended_first(site: Site) -> None:
    crashed(site)
    maintenance(site)
    said = json.loads(site.get("/__router_health")[1])["situation"]
    assert (said["word"], said["exit_code"]) == ("maintenance", HELD_BACK)
    assert "Blue 1.4.2 is active but crashed" in said["sentence"]
    assert said["advice"].endswith("switch green")


# --- what others run -------------------------------------------------------------------------------------

ELSEWHERE = {
    "blue": ("10.0.0.7:8000", "10.0.0.8:8000"),
    "green": ("unix:/run/1", "unix:/run/2", "unix:/run/3", "unix:/run/4"),
}
START_BLUE = "Others run blue: start it where it runs, at 10.0.0.7:8000, 10.0.0.8:8000."
START_GREEN = "Others run green: start it where it runs, at unix:/run/1, unix:/run/2, unix:/run/3 and 1 more."


@pytest.mark.parametrize(
    ("facts", "said", "advice"),
    [
        (Facts(1.0, BlueGreenState(), silence="none"), START_BLUE, ""),
        (Facts(1.0, None, state_fault="it is missing"), START_BLUE, ""),
        (Facts(1.0, None, state_fault="it is broken"), "it is broken", "status"),
        (Facts(1.0, BlueGreenState(), silence="none", checks={"green": Checks()}), "Nothing was", "switch green"),
        (Facts(1.0, BlueGreenState(), checks={"green": Checks(1)}), START_BLUE, ""),
        (Facts(1.0, BlueGreenState(), checks={"green": Checks()}), "No version is active", "switch green"),
        (Facts(1.0, promote(BlueGreenState(), "green", 0.5), checks={"green": Checks(1)}), START_GREEN, ""),
        (Facts(1.0, ON_BLUE, checks={"blue": Checks()}, recent=Recent(100, 50)), "50 %", ""),
    ],
    ids=["new", "no file", "broken file", "new and well", "none active", "another is well", "fails", "errs"],
)
def test_nothing_advises_to_start_here_what_others_run(facts: Facts, said: str, advice: str) -> None:
    found = decide(replace(facts, elsewhere=ELSEWHERE))
    assert said in plain(found.text)
    assert found.advice.removeprefix(f"{PROGRAM} ") == advice


def backend(number: int, state: str) -> BackendRow:
    return BackendRow(f"10.0.0.{number}:8000", state, "", 0, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["ok", "drained"], None),
        (["ok", "unhealthy"], "1 of its 2 backends is out: 10.0.0.1:8000 is unhealthy."),
        (["ejected", "ok", "unhealthy"], "2 of its 3 backends are out: 10.0.0.0:8000 is ejected, 10.0.0.2:8000 is"),
        (["ejected"] * 5, "5 of its 5 backends are out: 10.0.0.0:8000 is ejected, 10.0.0.1:8000 is ejected, "),
    ],
    ids=["one was taken out", "one", "two", "all"],
)
def test_backends_that_are_out_are_named(states: list[str], said: str | None) -> None:
    rows = [backend(number, state) for number, state in enumerate(states)]
    found = decide(Facts(1.0, ON_BLUE, backends={"blue": rows, "green": [backend(0, "ejected")]}))
    assert found.word == ("reduced" if said else "serving")
    assert said is None or said in found.text


def test_processes_of_ours_that_are_out_are_restarted() -> None:
    places = ("127.0.0.1:5005", "127.0.0.1:5015")
    ours = with_version(ON_BLUE, "blue", instances=places)
    out = {"blue": [backend(0, "ok"), backend(1, "unhealthy")]}
    assert decide(Facts(1.0, ours, backends=out)).advice.endswith("restart blue")
    others = with_version(ours, "blue", backends=places)
    assert decide(Facts(1.0, others, backends=out)).advice.endswith("health-check")


# --- what was rolled back --------------------------------------------------------------------------------


def rolled_back(site: Site) -> None:
    """Green had the traffic, and was found wanting."""
    on_green = promote(site.state, "green", time.time() - 700)
    site.put(promote(on_green, "blue", time.time() - 600, gives_up=True))


@pytest.mark.parametrize(
    ("trouble", "advice"), [(crashed, "start blue"), (failing, "restart blue"), (erring, "logs blue")]
)
def test_nothing_advises_a_release_that_was_rolled_back(
    site: Site, capsys: Captured, trouble: Callable[[Site], None], advice: str
) -> None:
    rolled_back(site)
    trouble(site)
    said = json.loads(site.get("/__router_health")[1])["situation"]
    assert said["advice"].endswith(advice)
    assert "Green 1.5.0 answers, but was rolled back 10 min" in said["sentence"]
    run(blue_green_deploy.main, ["status"])
    out = capsys.readouterr().out
    assert "Rollback goes to: green, but 1.5.0 was rolled back 10 min" in out
    assert "switch green" not in out


def test_whoever_goes_there_all_the_same_is_told(site: Site, capsys: Captured) -> None:
    rolled_back(site)
    assert run(blue_green_deploy.main, ["switch", "green"]) == 0
    out = capsys.readouterr()
    assert "⚠️  1.5.0 was rolled back 10 min" in out.out
    state = json.loads(site.path.read_text())
    assert state["versions"]["green"]["rolled_back_at"] is None, "it has the traffic, and a new chance"
    assert run(blue_green_deploy.main, ["rollback"]) == 0
    out = capsys.readouterr()
    assert "green keeps running. 1.5.0 was rolled back. Why: " in out.out.replace("is stopped", "keeps running")
    state = json.loads(site.path.read_text())
    assert state["versions"]["green"]["rolled_back_at"] is not None
    assert state["versions"]["blue"]["rolled_back_at"] is None


def test_the_way_forward_again_gives_nothing_up() -> None:
    state = promote(promote(BlueGreenState(), "blue", 1.0), "green", 2.0)
    back = promote(state, "blue", 3.0, gives_up=True)
    assert back.version("green").rolled_back_at == 3.0
    forward = promote(back, "green", 4.0, gives_up=True)
    assert forward.version("green").rolled_back_at is forward.version("blue").rolled_back_at is None
    assert given_up(back.version("green"), 63.0) == "green was rolled back 1 min 0 s ago"


def test_facts_without_figures_are_enough() -> None:
    state = with_version(BlueGreenState(active_version="blue"), "blue", status="running")
    assert decide(Facts(at=1.0, state=state)).word == "serving"
    assert decide(Facts(at=1.0, state=state, checks={"blue": Checks(2, "it hangs")})).word == "failing"


@pytest.mark.parametrize(
    ("causes", "failed", "said"),
    [
        ({}, 54, "failed: 54 with the application's own 5xx."),
        ({"connect_refused": 54}, 54, "failed: 54 with connect_refused."),
        ({"read_timeout": 4}, 54, "failed: 50 with the application's own 5xx, 4 with read_timeout."),
        ({"client_disconnected": 40, "malformed_request": 9}, 12, "failed: 12 with the application's own 5xx."),
        (
            {"connect_refused": 20, "read_timeout": 19, "upstream_reset": 18, "bad_answer": 1},
            58,
            "failed: 20 with connect_refused, 19 with read_timeout, 18 with upstream_reset, 1 otherwise.",
        ),
    ],
    ids=["application", "no connection", "both", "clients that leave are none", "the most frequent"],
)
def test_failures_are_told_by_their_causes(causes: dict[str, int], failed: int, said: str) -> None:
    figures = stats("blue")._replace(requests=100, failed=failed, causes=causes, code_classes={"5xx": failed})
    told = decide(Facts(100.0, ON_BLUE, checks={"blue": Checks()}, recent=recent(figures)))
    assert told.word == "erring" and said in plain(told.text)


def failed_request(status: int, path: str, cause: str = "") -> FailedRequest:
    return FailedRequest("blue", "id-1", "GET", path, 0, status, cause, 99.0, 1.0)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([(500, "/cart")] * 3, "54 with the application's own 500 on /cart."),
        ([(500, "/cart"), (500, "/cart"), (503, "/a")], "54 with the application's own 500 on /cart."),
        ([(500, "/a"), (500, "/b"), (500, "/c")], "54 with the application's own 500."),
        ([(500, "/a"), (503, "/a")], "54 with the application's own 5xx on /a."),
    ],
    ids=["all alike", "most alike", "one code", "one path"],
)
def test_failures_are_told_by_what_most_of_them_share(known: list[tuple[int, str]], said: str) -> None:
    figures = stats("blue")._replace(requests=100, failed=54, code_classes={"5xx": 54})
    facts = Facts(
        100.0, ON_BLUE, checks={"blue": Checks()}, recent=recent(figures, [failed_request(*one) for one in known])
    )
    assert said in plain(decide(facts).text)


def test_failures_say_since_when() -> None:
    figures = stats("blue")._replace(requests=100, failed=54, code_classes={"5xx": 54})
    facts = Facts(100.0, ON_BLUE, checks={"blue": Checks()}, recent=recent(figures, failing_for_s=250.0))
    assert plain(decide(facts).text).endswith(" That began 4 min 10 s ago.")
    just_now = replace(facts, recent=recent(figures, failing_for_s=20.0))
    assert "began" not in decide(just_now).text


@pytest.mark.parametrize(
    ("requests", "now_ms", "usual_ms", "word"),
    [
        (1000, 1200.0, 150.0, "slow"),
        (1000, 400.0, 150.0, "serving"),
        (1000, 60.0, 5.0, "serving"),
        (1000, 120.0, 5.0, "slow"),
        (99, 1200.0, 150.0, "serving"),
        (1000, 1200.0, None, "serving"),
    ],
    ids=["eight times", "less than three times", "by little", "by enough", "few requests", "no past"],
)
def test_a_p95_that_left_its_own_past_is_an_alarm(requests: int, now_ms: float, usual_ms: float, word: str) -> None:
    recently = Recent(requests, 0, p95_ms=now_ms, usual_p95_ms=usual_ms)
    now = decide(Facts(100.0, ON_BLUE, checks={"blue": Checks()}, recent=recently))
    assert now.word == word
    if word == "slow":
        took = plain(ms_text(now_ms)), plain(ms_text(usual_ms))
        assert "took up to {}, in the half hour before that {}.".format(*took) in plain(now.text)


CRASHED = with_version(ON_BLUE, "blue", status="crashed")


@pytest.mark.parametrize(
    ("restarts", "held", "said"),
    [
        (Restarts(True, False, 1, 0.0, 100.4, 1, 99.0), 0, "is active but crashed. It is started again at once."),
        (Restarts(True, False, 4, 0.0, 108.0, 1, 99.0), 1, "; 1 request waits for it. It is started again in 8 s."),
        (Restarts(True, True, 10, 0.0, None, 1, 99.0), 0, "It was started again 10 times and failed each time."),
    ],
)
def test_crashed_version_that_is_started_again(restarts: Restarts, held: int, said: str) -> None:
    told = decide(Facts(100.0, CRASHED, restarts={"blue": restarts}, held=held))
    assert told.word == "crashed"
    assert said in plain(told.text)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (replace(ON_BLUE, switched_at=None), "All new requests go to blue; green still finishes 1 request."),
        (replace(ON_BLUE, switched_at=90.0, previous_version=None), "Switched 10 s ago, new requests go to blue;"),
        (replace(ON_BLUE, switched_at=90.0, previous_version="green"), "Switched to blue 10 s ago;"),
    ],
)
def test_other_version_still_has_requests(state: BlueGreenState, said: str) -> None:
    told = decide(Facts(100.0, state, checks={"blue": Checks()}, in_flight={"green": 1}))
    assert told.word == "draining"
    assert plain(told.text).startswith(said)
