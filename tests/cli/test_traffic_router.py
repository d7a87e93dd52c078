"""`traffic_router` against a stand-in for the router: what is asked, printed and returned."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from app.cli.entry import run
from app.cli.traffic_router import main
from tests.support.canned_router import HEALTHY, METRICS, CannedRouter
from tests.support.router_process import free_port

STATUS = """\
============================================================
TRAFFIC ROUTER STATUS
============================================================

✅ Router: HEALTHY
   Active port: 5005
   Active version: blue
✅ Backend (blue on 5005): HEALTHY
   Status: true
"""
"""To the letter as the documentation shows it."""


def call(*argv: str) -> int:
    return run(main, argv)


# --- status --------------------------------------------------------------------------------------------------


def test_status_of_a_healthy_router_is_as_documented(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status") == 0
    assert capsys.readouterr().out == STATUS


def test_status_as_json_is_what_the_router_said(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == HEALTHY


def test_status_of_no_router_says_so_and_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()

    assert call("status", f"--port={port}") == 1

    out = capsys.readouterr().out
    assert f"❌ Router: UNHEALTHY\n   Reason: not running: nothing listens on 127.0.0.1:{port}\n" in out
    assert "   Try: python3 bin/traffic_router start\n" in out


def test_status_of_no_router_as_json_has_the_documented_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status", "--json", f"--port={free_port()}") == 1

    health = json.loads(capsys.readouterr().out)
    assert health["status"] == "unhealthy"
    assert health["active_port"] is health["active_version"] is health["backend"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"reason": "no version is active", "active_port": None, "active_version": None, "backend": None},
            [
                "❌ Router: UNHEALTHY",
                "   Reason: no version is active",
                "   Try: python3 bin/blue_green_deploy start blue",
            ],
        ),
        (
            {"reason": "blue is down", "backend": {"ok": False, "reason": "connection refused"}},
            [
                "   Reason: blue is down",
                "❌ Backend (blue on 5005): UNHEALTHY",
                "   Status: false",
                "   Reason: connection refused",
                "   Try: python3 bin/blue_green_deploy restart blue",
            ],
        ),
        ({"backend": None}, ["   Reason: not said", "⏳ Backend (blue on 5005): NOT CHECKED YET"]),
    ],
    ids=["no version", "backend down", "not checked"],
)
def test_status_of_an_unhealthy_router_names_reason_and_remedy(
    canned: CannedRouter,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    expected: list[str],
) -> None:
    canned.answers["/__router_health"] = (503, {**HEALTHY, "status": "unhealthy", **changes})

    assert call("status") == 1

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in expected] == expected


def test_status_warns_of_a_state_file_that_cannot_be_read(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    canned.answers["/__router_health"] = (200, {**HEALTHY, "state": {"fault": "the state file is torn"}})

    assert call("status") == 0
    out = capsys.readouterr().out
    assert "⚠️  State file: the state file is torn\n   Try: python3 bin/blue_green_deploy repair" in out


@pytest.mark.parametrize(
    ("mode", "lines"),
    [
        ("paused", "⏸️  Router: PAUSED\n   New requests wait.\n"),
        ("maintenance", "🚧 Router: MAINTENANCE\n   Clients get 503.\n"),
    ],
)
def test_status_of_a_router_of_before_that_holds_traffic_back_says_so(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], mode: str, lines: str
) -> None:
    canned.answers["/__router_health"] = (200, {**HEALTHY, "traffic": {"mode": mode}})
    assert call("status") == 6
    assert capsys.readouterr().out == STATUS.replace("✅ Router: HEALTHY\n", lines)


@pytest.mark.parametrize(
    ("member", "said", "line"),
    [
        ("traffic", {"mode": "failover"}, "⚠️  The standby stands in for the active version.\n"),
        ("metrics", {"fault": "kept in memory only"}, "⚠️  Metrics: kept in memory only\n"),
    ],
    ids=["failover", "metrics"],
)
def test_status_tells_what_is_not_as_usual_and_is_healthy_all_the_same(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], member: str, said: object, line: str
) -> None:
    canned.answers["/__router_health"] = (200, {**HEALTHY, member: said})
    assert call("status") == 0
    assert capsys.readouterr().out == STATUS + line


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, ["a"]), (404, {"status": "no"})], ids=str)
def test_status_of_something_else_on_the_port_says_who(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], answer: tuple[int, object]
) -> None:
    canned.answers["/__router_health"] = answer

    assert call("status") == 1

    out = capsys.readouterr().out
    assert f"port {canned.port} answers, but not as a traffic router: pid {os.getpid()} (" in out


def test_status_of_a_port_that_never_answers_fails_after_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.router_client._TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        assert call("status", f"--port={port}") == 1

    assert f"Reason: no answer on 127.0.0.1:{port}: timed out" in capsys.readouterr().out


# --- metrics -------------------------------------------------------------------------------------------------


def test_metrics_shows_every_documented_figure(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("metrics") == 0

    out = capsys.readouterr().out
    words = " ".join(out.split())
    assert "TRAFFIC ROUTER METRICS" in out
    for figure in (
        "Total requests 1,024",
        "Successful 1,020",
        "Failed 4",
        "Success rate 99.6 %",
        "Bytes proxied 5.00 MiB",
        "Average time 45.2 ms",
        "blue 512 50.0 %",
        "green 512 50.0 %",
    ):
        assert figure in words


def test_metrics_shows_what_the_router_adds(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    latency = {"p50": 0.5, "p90": 12.3, "p95": 450.0, "p99": 1500.0, "max": None}
    blue = {"success_rate": 99.2, "latency_ms": latency}
    canned.answers["/__router_metrics"] = (
        200,
        {**METRICS, "latency_ms": latency, "in_flight": 3, "uptime_s": 109.4, "versions": {"blue": blue}},
    )

    assert call("metrics") == 0

    words = " ".join(capsys.readouterr().out.split())
    for figure in ("p50 0.50 ms", "p90 12.3 ms", "p95 450 ms", "p99 1.50 s", "In flight 3", "Uptime 1 min 49 s"):
        assert figure in words
    assert "max" not in words
    assert "blue 512 50.0 % 99.2 % 0.50 ms 450 ms" in words


def test_metrics_shows_what_the_router_answered_itself(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"router": {"success_rate": 0.0, "latency_ms": {"p50": 0.1, "p95": 0.2}}}
    canned.answers["/__router_metrics"] = (200, {**METRICS, "total_requests": 1280, "versions": own})

    assert call("metrics") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "blue 512 40.0 %" in words
    assert "router 256 20.0 % 0.0 % 0.10 ms 0.20 ms" in words


def test_metrics_of_a_router_without_requests(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    canned.answers["/__router_metrics"] = (
        200,
        {**METRICS, "total_requests": 0, "version_requests": {"blue": 0, "green": 0}},
    )

    assert call("metrics") == 0
    assert "blue 0 – – – –" in " ".join(capsys.readouterr().out.split())


def test_metrics_as_json_with_a_window(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("metrics", "--window=60", "--json") == 0
    assert json.loads(capsys.readouterr().out) == METRICS
    assert canned.asked == ["/__router_metrics?window=60"]


def test_admin_token_is_shown_to_the_router(canned: CannedRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_ADMIN_TOKEN", "secret")

    assert call("metrics") == 0
    assert canned.fields[0]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, "no"), "❌ Metrics are off\n   Try: metrics_enabled = true in "),
        ((403, "no"), "does not show its metrics to this address"),
        ((200, "<html>"), "does not answer as a traffic router (status 200)"),
        ((200, {}), "does not answer as a traffic router"),
        ((500, METRICS), "does not answer as a traffic router (status 500)"),
    ],
    ids=["off", "forbidden", "html", "other JSON", "broken"],
)
def test_metrics_that_cannot_be_had_fail_with_the_reason(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], answer: tuple[int, object], expected: str
) -> None:
    canned.answers["/__router_metrics"] = answer

    assert call("metrics") == 1
    assert expected in capsys.readouterr().err


def test_metrics_without_a_router_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("metrics", f"--port={free_port()}") == 1
    assert "❌ not running" in capsys.readouterr().err


def test_watch_without_a_router_fails_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("metrics", "--watch", f"--port={free_port()}") == 1
    assert "❌ not running" in capsys.readouterr().err


# --- test ----------------------------------------------------------------------------------------------------


def test_three_documented_tests_pass(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("test") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[4].startswith("✅ Health endpoint: /health answered 200 in ")
    assert lines[5].startswith("✅ Router health: blue is active on port 5005, found in ")
    assert lines[6].startswith("✅ Metrics endpoint: 1,026 requests counted, read in ")
    assert lines[8] == "3 of 3 tests passed"


def test_tests_fail_one_by_one(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.self_test._COUNTED_WITHIN_S", 0.0)
    canned.counts = False
    canned.answers["/health"] = (502, "Bad gateway")
    canned.answers["/__router_health"] = (503, {**HEALTHY, "status": "unhealthy", "reason": "blue is down"})

    assert call("test") == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[4].startswith("❌ Health endpoint: /health answered 502 in ")
    assert lines[4].endswith(": Bad gateway")
    assert lines[5].startswith("❌ Router health: blue is down, found in ")
    assert lines[6].startswith("❌ Metrics endpoint: a request for /health was not counted")
    assert lines[8] == "0 of 3 tests passed"


def test_health_path_and_statuses_are_those_of_the_settings(home: Path, canned: CannedRouter) -> None:
    (home / "traffic_router.toml").write_text('[app]\nhealth_path = "/up"\nhealth_statuses = "204"\n')
    canned.answers["/up"] = (204, "")

    assert call("test") == 0
    assert "/health" not in canned.asked


def test_tests_without_a_router_fail_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("test", f"--port={free_port()}") == 1
    assert capsys.readouterr().out.count("not running: nothing listens on") == 3


def test_port_of_another_server_is_told_from_a_router_whose_metrics_are_off(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    canned.answers = {"/__router_metrics": (404, "not found")}

    assert call("metrics") == 1
    assert "does not answer as a traffic router (status 404)" in capsys.readouterr().err
    assert call("test") == 1
    assert f"❌ Router health: port {canned.port} answers, but not as a traffic router" in capsys.readouterr().out


def test_application_is_asked_by_the_name_that_it_knows(
    canned: CannedRouter, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (home / "traffic_router.toml").write_text('[app]\nhealth_host = "shop.example.org"\n')

    assert call("test") == 0
    assert canned.fields[canned.asked.index("/health")]["Host"] == "shop.example.org"


def test_health_path_that_the_metrics_leave_out_is_no_fault(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_METRICS_EXCLUDE", "/ping /hea*")
    canned.counts = False

    assert call("test") == 0
    assert "/health never (metrics_exclude)" in capsys.readouterr().out


# --- config --------------------------------------------------------------------------------------------------


def test_config_shows_values_and_where_they_came_from(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "traffic_router.toml").write_text('admin_token = "hunter2"\n[app]\nenv = { KEY = "hunter2" }\n')
    monkeypatch.setenv("TRAFFIC_ROUTER_READ_TIMEOUT", "12")

    assert call("config", "--port=8080") == 0

    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["main_port", "8080", "command", "line"] in rows
    assert ["read_timeout", "12", "environment", "TRAFFIC_ROUTER_READ_TIMEOUT"] in rows
    assert ["admin_token", "********", "traffic_router.toml"] in rows
    assert ["app.env", "KEY=********", "traffic_router.toml", "[app]"] in rows
    assert ["app.dir", ".", "default"] in rows
    assert "hunter2" not in out


def test_config_as_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "traffic_router.toml").write_text('admin_token = "hunter2"\n')

    assert call("config", "--json") == 0

    config = json.loads(capsys.readouterr().out)
    assert config["main_port"] == {"value": 5004, "source": "default"}
    assert config["admin_token"] == {"value": "********", "source": "traffic_router.toml"}
    assert config["app.health_path"] == {"value": "/health", "source": "default"}


# --- usage ---------------------------------------------------------------------------------------------------


def test_help_teaches_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        call("--help")

    assert not left.value.code
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert "traffic_router metrics --watch" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        call("--version")

    assert not left.value.code
    assert capsys.readouterr().out.startswith("traffic_router 1.")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "Usage:"),
        (["status", "extra"], "status: something is missing, or too much\nUsage:\n  traffic_router status ["),
        (["strat"], "strat: not known here; did you mean start?\nUsage:"),
        (["zzzz"], "zzzz: not known here\nUsage:"),
        (["start", "--prot=1"], "--prot: not known here; did you mean --port?\nUsage:"),
        (["--jsn", "status"], "--jsn: not known here; did you mean --json?"),
        (["metrics", "--watch=often"], "--watch=often: expected a number from 0.1 to 3600"),
        (["metrics", "--window=0"], "--window=0: expected a number from 1 to 21600"),
        (["start", "--port=0"], "main_port = 0: expected a whole number from 1 to 65535 (command line)"),
        (["start", "--workers=many"], "workers = many: expected a whole number from 0 to 256 (command line)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_explained_with_exit_code_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*argv) == 2
    assert capsys.readouterr().err.startswith(("One setting is not usable:\n  " if " = " in said else "") + said)


def test_home_that_does_not_exist_is_a_configuration_fault(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_HOME", str(home / "none"))

    assert call("config") == 2
    assert "No such file or directory" in capsys.readouterr().err


LOOPS = {
    "slash": {"/health": (301, "/health/"), "/health/": (302, "/health")},
    "itself": {"/health": (302, "/health")},
    "https": {"/health": (301, "https://shop.test/health")},
}


@pytest.mark.parametrize("loop", LOOPS)
def test_answers_that_lead_in_a_circle_are_told(
    canned: CannedRouter, capsys: pytest.CaptureFixture[str], loop: str
) -> None:
    """As from an application that is not told that its clients speak https."""
    canned.answers |= LOOPS[loop]
    backend = {**dict(HEALTHY["backend"]), "status": 301}  # type: ignore[call-overload]  # JSON
    canned.answers["/__router_health"] = (200, {**HEALTHY, "backend": backend})
    assert call("test") == 1
    assert "❌ Health endpoint: /health answered 30" in (said := capsys.readouterr().out)
    assert "every answer is a redirect, and they lead in a circle" in said
    assert call("status") == 0
    assert "⚠️  /health: every answer is a redirect" in capsys.readouterr().out


def test_a_redirect_that_comes_to_an_end_is_shown(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    canned.answers |= {"/health": (301, "/health/"), "/health/": (200, "ok")}
    call("test")
    said = capsys.readouterr().out
    assert "✅ Health endpoint: /health answered 301" in said
    assert "which leads to /health/" in said


# --- config --check --------------------------------------------------------------------------------------------


def test_file_that_could_be_used_is_told_with_what_it_changes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "traffic_router.toml").write_text("read_timeout = 30\n")
    (home / "next.toml").write_text('read_timeout = 5\n[[limit]]\nname = "login"\nrate = "10/m"\n')

    assert call("config", "--check=next.toml") == 0
    assert capsys.readouterr().out.splitlines() == [
        "next.toml can be used.",
        "   read_timeout = 30 → 5",
        '   limit.login.name = "" → login',
        '   limit.login.rate = "" → 10/m',
    ]


def test_file_that_is_no_good_is_told_with_all_its_faults(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "next.toml").write_text('read_timeout = "x"\n[[limit]]\nname = "login"\nrate = "10"\n')

    assert call("config", "--check=next.toml") == 2
    said = capsys.readouterr().err
    assert "read_timeout = x" in said and "[[limit]] login: rate = 10: expected" in said
    assert call("config", "--check=nowhere.toml") == 2
    assert "nowhere.toml is no file" in capsys.readouterr().err


def test_file_is_judged_whatever_is_wrong_with_the_one_in_use(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "traffic_router.toml").write_text("read_timeout = []\n")
    (home / "next.toml").write_text("")

    assert call("config", "--check=next.toml") == 0
    assert capsys.readouterr().out == "next.toml can be used. It changes no setting.\n"


def test_metrics_have_a_row_for_each_limit(canned: CannedRouter, capsys: pytest.CaptureFixture[str]) -> None:
    limit = {"name": "login", "passed": 1234, "refused": 5, "delayed": 6, "would_refuse": 0}
    status, metrics = canned.answers["/__router_metrics"]
    assert isinstance(metrics, dict)
    canned.answers["/__router_metrics"] = (status, {**metrics, "limits": [limit]})

    assert call("metrics") == 0
    assert "   Limit  Let through   Refused   Delayed Would refuse" in capsys.readouterr().out
