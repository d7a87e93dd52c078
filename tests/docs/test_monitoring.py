"""The files for Prometheus and Grafana use metrics that exist, in expressions that Prometheus understands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.address import Address
from app.fleet.sight import FleetSight, standing_of
from app.limits.limit_figures import LimitFigures
from app.logins.login_figures import KeyState, LoginFigures
from app.metrics.prometheus import render
from app.metrics.shared import SharedMetrics
from app.proxy.service import metrics_slots
from app.settings.tables.fleet_settings import FleetConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import BlueGreenState, promote, with_split, with_version
from app.state.split import Split
from tests.docs.pages import ROOT, name_of, pages

STATE = with_version(promote(BlueGreenState(), "blue", 1.0), "blue", release="r1")
FOLDER = ROOT / "docs" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")
GRID_COLUMNS = 24

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a scrape gets of a router without traffic, with two backends, a limit, a login and a fleet."""
    path = tmp_path_factory.mktemp("metrics") / "router_metrics.mmap"
    metrics = SharedMetrics.create_or_attach(str(path), metrics_slots(RouterConfig(workers=1)))
    backends = {"blue": metrics.backend_rows(0, [Address("10.0.0.7", 8000), Address("10.0.0.8", 8000)])}
    limits = [LimitFigures("login", 1, 2, 0, 0)]
    logins = LoginFigures(metrics.logins(), [KeyState("https://id.test/", 1, 0.0, "")])
    snapshot = metrics.snapshot()._replace(backends=backends, limits=limits, logins=logins)
    sight = FleetSight("shop", "web-1", 1.0, 1.0)
    fleet = (sight, standing_of(sight, FleetConfig(), 2.0))
    shared = with_split(STATE, Split("green", 500, 2.0))
    return render(snapshot, "prometheus", "shared", shared, fleet=fleet, evidence=(37.0, 100.0))[0].decode()


def names_in(text: str) -> set[str]:
    """The names of ours in a text, those of a histogram's series as they are written."""
    return set(re.findall(r"\btraffic_router_[a-z_]+[a-z]\b", text)) - {"traffic_router_admin"}


def known_names(exposition: str) -> set[str]:
    """Every series' name, and every family's."""
    families = set(re.findall(r"^# TYPE (\w+) ", exposition, re.MULTILINE))
    parts = {f"{name}{part}" for name in families for part in ("_bucket", "_sum", "_count")}
    return families | parts


def expressions() -> Iterator[str]:
    """The dashboard's queries, with Grafana's variables filled in."""
    for panel in [*DASHBOARD["panels"], *({"targets": [mark]} for mark in DASHBOARD["annotations"]["list"])]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


@pytest.mark.parametrize("name", ["alerts.yml", "alerts.test.yml", "grafana-dashboard.json"])
def test_metrics_that_the_files_name_exist(name: str, exposition: str) -> None:
    named = names_in((FOLDER / name).read_text(encoding="utf-8"))

    assert named
    assert named <= known_names(exposition)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_metrics_that_the_page_names_exist(page: Path, exposition: str) -> None:
    text = re.sub(r"\btraffic_router_(connection|run)\b", "", page.read_text(encoding="utf-8"))

    assert names_in(text) <= known_names(exposition)


def test_every_alert_is_in_the_page() -> None:
    page = (ROOT / "docs" / "MONITORING_SETUP.md").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text(encoding="utf-8"))

    assert alerts == re.findall(r"^\| `(TrafficRouter\w+)` \|", page, re.MULTILINE)


def test_causes_in_the_alerts_exist(exposition: str) -> None:
    alerts = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    named = {cause for found in re.findall(r'cause=~?"([^"]+)"', alerts) for cause in found.split("|")}

    assert named <= set(re.findall(r'cause="(\w+)"', exposition))


def test_dashboard_is_one_that_grafana_imports() -> None:
    panels = DASHBOARD["panels"]

    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["title"] and DASHBOARD["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < GRID_COLUMNS, panel["title"]
        taken |= cells


def promtool(*arguments: str, stdin: str = "", cwd: Path = FOLDER) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], input=stdin, cwd=cwd, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    "arguments", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_promtool_accepts_the_files(arguments: str) -> None:
    promtool(*arguments.split())


@needs_promtool
def test_promtool_finds_no_fault_with_the_exposition(exposition: str) -> None:
    promtool("check", "metrics", stdin=exposition)


@needs_promtool
def test_prometheus_understands_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(expressions())]
    # JSON is YAML, and so are the rules.
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert len(rules) > 15
    promtool("check", "rules", "queries.yml", cwd=tmp_path)
