"""`blue_green_deploy` as it is typed: real versions, real ports, what is printed and the exit code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from app.address import Address
from app.cli import blue_green_deploy
from app.cli.deploy_events import probe_text
from app.cli.deploy_views import age_text, health_lines
from app.cli.entry import run
from app.deploy.events import TimedProbe
from app.deploy.processes.process_table import Processes
from app.metrics.shared import SharedMetrics, monotonic_us
from app.state.process_birth import birth
from app.state.store import StateStore
from app.transport.loopback import port_is_open
from app.upstream.probe import ProbeResult
from tests.deploy.instances import step
from tests.deploy.rehearsal import COMMAND
from tests.support.canned_router import HEALTHY, CannedRouter
from tests.support.raw_client import ask
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "bin" / "blue_green_deploy"

Captured = pytest.CaptureFixture[str]


def deploy(*argv: str) -> int:
    return run(blue_green_deploy.main, argv)


def typed(*argv: str) -> subprocess.Popen[str]:
    """The command as a process of its own, through the launcher."""
    return subprocess.Popen(
        [sys.executable, str(LAUNCHER), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def state(site: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((site / ".local_context" / "bg_state.json").read_text())
    return found


def version(site: Path, name: str) -> dict[str, object]:
    versions = state(site)["versions"]
    assert isinstance(versions, dict)
    found: dict[str, object] = versions[name]
    return found


def break_health(site: Path) -> None:
    (site / "broken").touch()


# --- the documented way ----------------------------------------------------------------------------------


def test_start_switch_and_rollback(site: Path, capsys: Captured) -> None:
    assert deploy("start", "blue") == 0
    out = capsys.readouterr().out
    assert "✅ blue is healthy (200 in" in out
    assert "✅ blue is active: requests go to port" in out
    assert "Next, unless the router starts by itself: python3 bin/traffic_router start" in out

    assert deploy("start", "green", "--release=r2") == 0
    out = capsys.readouterr().out
    assert "release r2" in out
    assert "It has no traffic yet. Next: python3 bin/blue_green_deploy switch green" in out

    assert deploy("health-check") == 0
    assert capsys.readouterr().out.count("HEALTHY (200 in") == 2

    assert deploy("switch", "green") == 0
    assert "blue keeps running. Back to it: python3 bin/blue_green_deploy rollback" in capsys.readouterr().out
    assert state(site)["active_version"] == "green"

    assert deploy("rollback") == 0
    assert "✅ blue is active" in capsys.readouterr().out
    assert state(site)["active_version"] == "blue"


def test_deploy_prints_its_way_and_history_tells_it(site: Path, capsys: Captured) -> None:
    deploy("start", "blue", "--release=r1")
    assert deploy("deploy", "--release=r2", "--stop-old") == 0
    out = capsys.readouterr().out
    assert "🛑 blue stopped" in out
    assert "blue is stopped. Back to it" in out

    assert deploy("history") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["#", "WHEN", "WHO", "COMMAND", "ACTIVE", "RELEASE", "OUTCOME", "TOOK"]
    assert "none → blue" in lines[1]
    assert "deploy --release=r2 --stop-old" in lines[2]
    assert "blue → green" in lines[2]

    assert deploy("history", "--json", "--limit=1") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["from"], entry["to"], entry["release"], entry["outcome"]) == ("blue", "green", "r2", "done")


def test_status_before_anything_was_started(site: Path, capsys: Captured) -> None:
    assert deploy("status") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{'=' * 60}\nBLUE-GREEN STATUS\n{'=' * 60}\n\n")
    assert "⏹️  blue (standby): STOPPED" in out
    assert "Try: python3 bin/blue_green_deploy start blue" in out
    assert deploy("history") == 0
    assert capsys.readouterr().out == "Nothing has been changed yet.\n"


def test_status_shows_both_versions(site: Path, capsys: Captured) -> None:
    deploy("start", "blue", "--release=r1")
    deploy("start", "green")
    deploy("switch", "green")
    capsys.readouterr()
    assert deploy("status") == 1
    out = capsys.readouterr().out
    assert "✅ green (active): HEALTHY" in out
    assert "✅ blue (standby): HEALTHY" in out
    assert f"Process: pid {version(site, 'blue')['pid']}, for " in out
    assert "Release: r1" in out
    assert "Rollback goes to: blue" in out
    assert "⏹️  Router: not running" in out

    assert deploy("status", "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["active_version"] == "green"
    blue = shown["versions"]["blue"]
    assert (blue["role"], blue["status"], blue["release"]) == ("standby", "running", "r1")
    assert blue["health"]["ok"] is True
    assert shown["router"] is None


def test_a_crashed_version_shows_how_it_ended(site: Path, capsys: Captured) -> None:
    deploy("start", "blue")
    deploy("start", "green")
    pid = version(site, "blue")["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    process = Processes(site / ".local_context")
    store = StateStore(site / ".local_context" / "bg_state.json")
    wait_until(lambda: not process.find(store.read().version("blue")).alive, "blue's end")
    capsys.readouterr()
    assert deploy("status") == 1
    out = capsys.readouterr().out
    assert "💥 blue (active): CRASHED (killed by SIGKILL)" in out
    assert "   | tiny app" in out
    assert "Try: python3 bin/blue_green_deploy switch green" in out
    deploy("stop", "green")
    capsys.readouterr()
    deploy("status")
    assert "Try: python3 bin/blue_green_deploy start blue" in capsys.readouterr().out


def test_logs_show_the_end_of_the_output(site: Path, capsys: Captured) -> None:
    assert deploy("logs", "blue") == 1
    assert "blue has no log yet" in capsys.readouterr().err
    deploy("start", "blue", "--release=r1")
    capsys.readouterr()
    assert deploy("logs", "blue", "--lines=1") == 0
    assert capsys.readouterr().out == "tiny app, release r1\n"
    assert deploy("logs", "blue", "--lines=x") == 2
    assert "--lines=x: expected a whole number" in capsys.readouterr().err


def test_logs_follow_until_ctrl_c(site: Path) -> None:
    deploy("start", "blue", "--release=r1")
    with typed("logs", "blue", "--follow") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "tiny app, release r1\n"
        with (site / ".local_context" / "logs" / "blue.log").open("a") as log:
            log.write("more\n")
        assert following.stdout.readline() == "more\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0


# --- refusals and their exit codes -----------------------------------------------------------------------


def test_an_unhealthy_version_is_refused_with_exit_code_3(site: Path, capsys: Captured) -> None:
    deploy("start", "blue")
    deploy("start", "green")
    break_health(site)
    capsys.readouterr()
    assert deploy("switch", "green") == 3
    captured = capsys.readouterr()
    assert "The last health checks of green:" in captured.out
    assert "500" in captured.out
    assert "(status 500, expected 200-399)" in captured.out
    assert captured.err.startswith("❌ green on port")
    assert "   Try: python3 bin/blue_green_deploy switch green --force" in captured.err
    assert state(site)["active_version"] == "blue"

    assert deploy("health-check", "green") == 3
    out = capsys.readouterr().out
    assert "UNHEALTHY (status 500, expected 200-399)" in out
    assert "Body: '{" in out

    assert deploy("switch", "green", "--force") == 0
    assert "⚠️  green on port" in capsys.readouterr().out
    deploy("status")
    assert "❌ green (active): UNHEALTHY" in capsys.readouterr().out


def test_health_check_without_versions_fails(site: Path, capsys: Captured) -> None:
    assert deploy("health-check") == 3
    assert "no version is running" in capsys.readouterr().err
    assert deploy("health-check", "green", "--json") == 3
    assert json.loads(capsys.readouterr().out)["green"]["reason"].startswith("nothing listens on port")


def test_a_failed_start_prints_the_log_and_leaves_nothing(site: Path, capsys: Captured) -> None:
    assert deploy("start", "blue", "--command=sh -c 'echo no database; exit 7'") == 3
    captured = capsys.readouterr()
    assert "The end of" in captured.out
    assert "   no database" in captured.out
    assert "it has ended (exit status 7)" in captured.err
    assert state(site)["active_version"] is None


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["stop", "blue"], 1, "blue is the active version"),
        (["rollback"], 1, "nothing to roll back to"),
        (["start", "purple"], 2, "no version 'purple'"),
        (["start"], 2, "Usage:"),
        (["swich", "blue"], 2, "did you mean switch?"),
        (["start", "green", "--command=no-such-program"], 2, "no program 'no-such-program'"),
        (["start", "green", "--dir=/no/such/dir"], 2, "/no/such/dir is not a directory"),
        (["history", "--limit=-1"], 2, "--limit=-1: expected a whole number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals(site: Path, capsys: Captured, argv: list[str], code: int, message: str) -> None:
    deploy("start", "blue")
    before = state(site)
    capsys.readouterr()
    assert deploy(*argv) == code
    assert message in capsys.readouterr().err
    assert state(site) == before


def test_stop_and_restart(site: Path, capsys: Captured) -> None:
    deploy("start", "blue")
    assert deploy("restart", "blue") == 0
    assert "⚠️  blue is active: requests fail until it is healthy again" in capsys.readouterr().out
    assert deploy("stop", "blue", "--force") == 0
    assert "🛑 blue stopped" in capsys.readouterr().out
    deploy("status")
    assert "⏹️  blue (active): STOPPED" in capsys.readouterr().out


def test_stop_of_a_crashed_version_says_what_was_found(site: Path, capsys: Captured) -> None:
    deploy("start", "green")
    pid = int(str(version(site, "green")["pid"]))
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: (
            not Processes(site / ".local_context")
            .find(StateStore(site / ".local_context" / "bg_state.json").read().version("green"))
            .alive
        ),
        "its end",
    )
    capsys.readouterr()
    assert deploy("stop", "green") == 0
    assert "green had ended by itself (killed by SIGKILL); it counts as stopped now" in capsys.readouterr().out
    assert version(site, "green")["status"] == "stopped"
    assert deploy("stop", "green") == 0
    assert "green is not running" in capsys.readouterr().out


def test_help_teaches_and_version_is_ours(home: Path) -> None:
    for argv, expected in ((["--help"], "Examples:"), (["--version"], "blue_green_deploy 1.")):
        done = subprocess.run([sys.executable, str(LAUNCHER), *argv], capture_output=True, text=True, check=True)
        assert expected in done.stdout


def test_wrong_settings_are_exit_code_2(site: Path, capsys: Captured) -> None:
    (site / "traffic_router.toml").write_text("[app]\nstart_timeout = -1\n")
    assert deploy("status") == 2
    assert "start_timeout" in capsys.readouterr().err


def test_a_torn_state_file_is_named_and_the_mending_given(site: Path, capsys: Captured) -> None:
    (site / ".local_context" / "bg_state.json").write_text('{"active_ver')
    assert deploy("switch", "green") == 1
    err = capsys.readouterr().err
    assert "is not usable: not JSON" in err
    assert "Try: python3 bin/blue_green_deploy repair" in err


# --- commands as processes -------------------------------------------------------------------------------


def test_ctrl_c_during_a_start_stops_what_it_started(site: Path) -> None:
    break_health(site)
    with typed("start", "blue") as starting:
        assert starting.stdout is not None
        for line in starting.stdout:
            if "status 500" in line:
                break
        pid = version(site, "blue")["pid"]
        assert isinstance(pid, int)
        starting.send_signal(signal.SIGINT)
        _, err = starting.communicate(timeout=20)
    assert starting.returncode == 130
    assert "Interrupted" in err
    assert not psutil.pid_exists(pid)
    assert version(site, "blue")["status"] == "stopped"


def test_a_killed_command_is_told_by_the_next_one(site: Path, capsys: Captured) -> None:
    break_health(site)
    with typed("start", "blue") as starting:
        assert starting.stdout is not None
        for line in starting.stdout:
            if "status 500" in line:
                break
        starting.kill()
    assert version(site, "blue")["status"] == "starting"
    assert deploy("stop", "blue") == 0
    out = capsys.readouterr().out
    assert f"⚠️  `start blue` (pid {starting.pid}) broke off while gating" in out
    assert "🛑 blue stopped" in out


def test_racing_commands_queue(site: Path) -> None:
    commands = [typed("start", "blue"), typed("start", "green")]
    for command in commands:
        out, err = command.communicate(timeout=50)
        assert command.returncode == 0, out + err
    assert {version(site, name)["status"] for name in ("blue", "green")} == {"running"}
    assert state(site)["active_version"] in ("blue", "green")


def wait_for_status(site: Path, name: str, status: str) -> None:
    wait_until(lambda: version(site, name)["status"] == status, f"{name} {status}", 20)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_run_hands_signals_on_and_passes_the_exit_status(
    site: Path, number: signal.Signals, code: int, capsys: Captured
) -> None:
    with typed("run", "blue") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        assert deploy("restart", "blue") == 1
        assert f"blue is run in the foreground by pid {running.pid}" in capsys.readouterr().err
        running.send_signal(number)
        out, err = running.communicate(timeout=20)
    assert running.returncode == code, out + err
    assert "tiny app" in out
    assert "Log:" not in out
    assert "blue ended:" in out
    assert version(site, "blue")["status"] == "stopped"


@pytest.mark.parametrize(
    ("stop_signal", "sent", "code"),
    [
        ("INT", signal.SIGTERM, 0),  # what every manager sends becomes what the application wants
        ("INT", signal.SIGINT, 0),
        ("WINCH", signal.SIGTERM, 0),
        ("WINCH", signal.SIGWINCH, 0),  # KillSignal=SIGWINCH in a unit
        ("INT", signal.SIGQUIT, 128 + signal.SIGQUIT),  # any other one is meant as it is
    ],
)
def test_run_tells_the_application_to_end_in_its_own_way(
    site: Path, stop_signal: str, sent: signal.Signals, code: int
) -> None:
    (site / "polite").write_text(stop_signal)
    toml = site / "traffic_router.toml"
    toml.write_text(toml.read_text() + f'stop_signal = "{stop_signal}"\n')
    with typed("run", "blue") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        running.send_signal(sent)
        out, err = running.communicate(timeout=20)
    assert running.returncode == code, out + err
    assert (version(site, "blue")["status"], version(site, "blue")["stop_signal"]) == ("stopped", stop_signal)


def test_run_of_a_version_that_ends_with_status_0_before_it_is_healthy_fails(site: Path) -> None:
    """systemd takes exit status 0 for the end that was wanted, and would not tell anybody."""
    with typed("run", "blue", "--command=true") as running:
        _, err = running.communicate(timeout=30)
    assert running.returncode == 3
    assert "it has ended (exit status 0" in err
    assert state(site)["active_version"] is None


def test_run_kills_a_version_that_ignores_the_signal(site: Path) -> None:
    (site / "stubborn").touch()
    toml = site / "traffic_router.toml"
    toml.write_text(toml.read_text() + "stop_timeout = 1\n")
    with typed("run", "blue") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGKILL, out + err
    assert "blue did not end within 1 s of the signal, so it was killed" in out
    assert version(site, "blue")["status"] == "stopped"


def test_run_reports_a_crash_by_its_exit_status(site: Path) -> None:
    with typed("run", "blue") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        pid = version(site, "blue")["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        out, _ = running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGKILL
    assert "❌ blue ended: killed by SIGKILL" in out
    assert (version(site, "blue")["status"], version(site, "blue")["exit_status"]) == ("crashed", -9)


def in_processes(site: Path, count: int) -> None:
    toml = site / "traffic_router.toml"
    toml.write_text(toml.read_text() + f"instances = {count}\ninstance_port_step = {step()}\n")


def test_run_has_all_processes_of_a_version_as_its_children(site: Path) -> None:
    in_processes(site, 3)
    with typed("run", "blue") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        children = psutil.Process(running.pid).children()
        assert len(children) == 3
        assert version(site, "blue")["pid"] in [child.pid for child in children]
        children[1].kill()
        out, _ = running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGKILL
    assert "blue ended: killed by SIGKILL" in out
    assert not any(child.is_running() for child in children)


def test_run_tells_all_processes_to_end(site: Path) -> None:
    in_processes(site, 2)
    with typed("run", "blue") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 0, out + err
    assert (version(site, "blue")["status"], version(site, "blue").get("instances")) == ("stopped", None)


def test_each_process_can_be_run_by_a_manager_of_its_own(site: Path, capsys: Captured) -> None:
    in_processes(site, 2)
    with typed("run", "blue", "--instance=2") as second, typed("run", "blue", "--instance=1") as first:
        wait_until(lambda: {"instances", "drained"} & version(site, "blue").keys() == {"instances"}, "both serve", 20)
        instances = version(site, "blue")["instances"]
        assert isinstance(instances, list)
        assert deploy("run", "blue", "--instance=2") == 1
        assert deploy("run", "blue", "--instance=3") == 2
        assert "--instance=3: blue has 2 processes" in capsys.readouterr().err
        second.send_signal(signal.SIGTERM)
        out, err = second.communicate(timeout=20)
        assert (second.returncode, "blue.2 ended: exit status 0" in out) == (0, True), out + err
        assert version(site, "blue")["drained"] == instances[1:]
        assert version(site, "blue")["status"] == "running"
        with typed("run", "blue", "--instance=2") as again:
            wait_until(lambda: "drained" not in version(site, "blue"), "it serves again", 20)
            for running in (first, again):
                running.send_signal(signal.SIGTERM)
                running.communicate(timeout=20)
    assert (version(site, "blue")["status"], version(site, "blue").get("instances")) == ("stopped", None)


def test_each_process_is_shown(site: Path, capsys: Captured) -> None:
    in_processes(site, 3)
    assert deploy("start", "blue") == 0
    assert deploy("drain", "blue", "--backend=2") == 0
    os.kill(json.loads((site / ".local_context" / "blue.3.process").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: shown(capsys)[2]["alive"] is False, "its end", 20)
    assert [one["drained"] for one in shown(capsys)] == [False, True, False]
    assert [one["name"] for one in shown(capsys)] == ["blue", "blue.2", "blue.3"]
    deploy("status")
    lines = capsys.readouterr().out.splitlines()
    assert any("✅ 2 " in line and "; drained" in line for line in lines)
    assert any("💥 3 " in line and "ended (killed by SIGKILL)" in line for line in lines)
    assert any("restart blue" in line for line in lines)
    assert deploy("logs", "blue.2") == 0
    assert "tiny app" in capsys.readouterr().out
    assert deploy("logs", "blue.x") == 2


def shown(capsys: Captured) -> list[dict[str, object]]:
    capsys.readouterr()
    deploy("status", "--json")
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["versions"]["blue"]["instances"]
    return found


def test_processes_are_scaled_and_put_back_as_typed(site: Path, capsys: Captured) -> None:
    toml = site / "traffic_router.toml"
    toml.write_text(toml.read_text() + f"instance_port_step = {step()}\n")
    assert deploy("start", "blue") == 0
    assert deploy("scale", "blue", "2") == 0
    assert "✅ blue has 2 processes" in capsys.readouterr().out
    assert deploy("drain", "blue", "--backend=1") == 0
    assert deploy("undrain", "blue", "--backend=1") == 0
    assert deploy("restart", "blue") == 0
    assert deploy("scale", "blue", "many") == 2
    assert deploy("scale", "blue", "1") == 0
    assert "✅ blue has 1 process\n" in capsys.readouterr().out


def test_a_command_goes_on_when_nobody_reads_what_it_says(site: Path, capsys: Captured) -> None:
    with typed("start", "blue") as starting:
        assert starting.stdout is not None
        starting.stdout.close()
        assert starting.wait(30) == 0
    assert version(site, "blue")["status"] == "running"
    assert deploy("history", "--json") == 0
    assert json.loads(capsys.readouterr().out)[-1]["outcome"] == "done"


def test_run_takes_what_start_takes(site: Path) -> None:
    with typed("run", "blue", "--release=r7", f"--dir={site}", f"--command={COMMAND}") as running:
        wait_until(lambda: state(site)["active_version"] == "blue", "blue active", 20)
        known = version(site, "blue")
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)
    assert (known["release"], known["dir"], known["command"]) == ("r7", str(site), COMMAND)


def test_a_version_in_the_foreground_can_be_stopped_and_not_started_twice(site: Path) -> None:
    with typed("run", "green") as running:
        wait_until(lambda: state(site)["active_version"] == "green", "green active", 20)
        second = typed("run", "green")
        _, err = second.communicate(timeout=20)
        assert (second.returncode, "green is running already" in err) == (1, True)
        assert deploy("stop", "green", "--force") == 0
        running.communicate(timeout=20)
    assert running.returncode == 0
    assert version(site, "green")["status"] == "stopped"


def test_run_of_an_unhealthy_version_ends_with_exit_code_3(site: Path) -> None:
    break_health(site)
    toml = site / "traffic_router.toml"
    toml.write_text(toml.read_text().replace("start_timeout = 10", "start_timeout = 2"))
    with typed("run", "blue") as running:
        running.communicate(timeout=30)
    assert running.returncode == 3
    assert version(site, "blue")["status"] == "stopped"


@pytest.mark.parametrize("app", ['command = "true"\ndir = "at/{release}"', 'command = "at/{release}"'])
@pytest.mark.parametrize("command", [["start", "blue"], ["deploy"]], ids=" ".join)
def test_a_place_for_the_release_asks_for_its_name(site: Path, app: str, command: list[str], capsys: Captured) -> None:
    (site / "at").mkdir()
    (site / "traffic_router.toml").write_text(f"[app]\n{app}\n")
    before = state(site)
    assert deploy(*command) == 2
    assert capsys.readouterr().err == (
        "'at/{release}' has a place for the release, and blue has no name for it\n"
        "   Try: --release=NAME with start, run or deploy\n"
    )
    assert state(site) == before


def test_run_of_what_cannot_be_executed_fails(site: Path) -> None:
    program = site / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    toml = site / "traffic_router.toml"
    toml.write_text(toml.read_text().replace(json.dumps(COMMAND), '"./program"'))
    with typed("run", "blue") as running:
        _, err = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "blue could not be started: ./program" in err


def test_the_bundled_demo_is_what_runs_with_nothing_configured(site: Path, capsys: Captured) -> None:
    (site / "traffic_router.toml").unlink()
    assert deploy("start", "blue", "--release=r7") == 0
    assert "the bundled demo application" in capsys.readouterr().out
    port = version(site, "blue")["port"]
    assert isinstance(port, int)
    page = ask(port, b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").body.decode()
    assert "<h1>blue</h1>" in page
    assert "r7" in page
    pid = version(site, "blue")["pid"]
    assert isinstance(pid, int)
    assert psutil.Process(pid).cwd() == str(ROOT / "app" / "demo")


def test_requests_in_flight_are_waited_for(site: Path, capsys: Captured) -> None:
    """With the router's own shared metrics, written by this process in a worker's place."""
    deploy("start", "blue")
    deploy("start", "green")
    metrics = SharedMetrics.create_or_attach(site / ".local_context" / "router_metrics.mmap", 4)
    writer = metrics.claim_slot(os.getpid())
    row = writer.start(0, b"GET", b"/report?id=1", monotonic_us())
    capsys.readouterr()
    assert deploy("switch", "green", "--wait") == 4
    captured = capsys.readouterr()
    assert "⏳ blue: 1 in flight" in captured.out
    assert "blue still has 1 request in flight after 1 s (oldest: GET /report for" in captured.err
    assert deploy("stop", "blue") == 4
    assert deploy("status") == 0
    assert "In flight: 1" in capsys.readouterr().out

    finish = threading.Timer(0.3, writer.unclaim, (row, 0))
    finish.start()
    assert deploy("stop", "blue") == 0
    finish.join()
    assert "✅ blue: no request in flight any more" in capsys.readouterr().out
    writer.close()
    metrics.close()


def test_status_tells_of_held_requests_and_of_a_failover(site: Path, capsys: Captured) -> None:
    deploy("start", "blue")
    metrics = SharedMetrics.create_or_attach(site / ".local_context" / "router_metrics.mmap", 4)
    writer = metrics.claim_slot(os.getpid())
    writer.hold(3)
    writer.divert(0, monotonic_us())
    capsys.readouterr()
    assert deploy("status") == 0
    out = capsys.readouterr().out
    assert "   Held: 3\n⚠️  FAILOVER: blue is down, requests go to green" in out
    assert deploy("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["held"], found["failover"]) == (3, "blue")
    writer.divert(1, monotonic_us())  # of before a switch, which this worker has not seen yet
    assert deploy("status") == 0
    assert "FAILOVER" not in capsys.readouterr().out
    writer.close()
    metrics.close()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_ages_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_a_health_check_shows_where_a_refused_redirect_leads() -> None:
    result = ProbeResult(False, 302, 1.5, "/login", b"", "status 302, expected 200")
    assert health_lines("blue", {Address("127.0.0.1", 5005): result}) == [
        "❌ blue on port 5005: UNHEALTHY (status 302, expected 200)",
        "   Location: /login",
    ]
    timed = TimedProbe(1.25, result)
    assert probe_text(timed) == "  1.2 s  302  1.50 ms  Location: /login  (status 302, expected 200)"


def test_status_names_the_running_router_and_what_else_answers(site: Path, capsys: Captured) -> None:
    port = StateStore(site / ".local_context" / "bg_state.json").read().version("green").port
    process = psutil.Process()
    pid_file = {"pid": process.pid, "port": 7004, "birth": birth(process.pid)}
    (site / ".local_context" / "router.pid").write_text(json.dumps(pid_file))
    with subprocess.Popen([*shlex.split(COMMAND.format(port=port))], cwd=site) as stranger:
        wait_until(lambda: port_is_open(port), "an application that somebody else started")
        assert deploy("switch", "green") == 0
        capsys.readouterr()
        assert deploy("status") == 0
        stranger.terminate()
    out = capsys.readouterr().out
    assert f"✅ Router: running on port 7004 (pid {process.pid})" in out
    assert "✅ green (active): HEALTHY, and not started from here" in out
    assert "Try:" not in out


def test_a_deploy_whose_output_has_no_room_goes_on(site: Path) -> None:
    assert deploy("start", "blue") == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(LAUNCHER), "start", "green"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 0
    assert done.stderr == "⚠️  the output cannot be written: No space left on device; the command goes on\n"
    assert version(site, "green")["status"] == "running"


def test_a_drain_that_sees_nothing_says_why(site: Path, capsys: Captured) -> None:
    """The router runs and counts in its memory, for its disk is full."""
    fault = "metrics are kept in memory only: No space left on device"
    process = psutil.Process()
    assert [deploy("start", name) for name in ("blue", "green")] == [0, 0]
    with CannedRouter() as router:
        router.answers["/__router_health"] = (200, {**HEALTHY, "metrics": {"fault": fault}})
        pid_file = {"pid": process.pid, "port": router.port, "birth": birth(process.pid)}
        (site / ".local_context" / "router.pid").write_text(json.dumps(pid_file))
        capsys.readouterr()
        assert deploy("stop", "green") == 1
    err = capsys.readouterr().err
    assert "whether green has requests in flight cannot be told: the router (pid " in err
    assert fault in err


def test_a_waiting_command_says_for_whom(site: Path) -> None:
    store = StateStore(site / ".local_context" / "bg_state.json")
    with store.lock("deploy --release=r9"):
        waiting = typed("start", "blue")
        assert waiting.stdout is not None
        assert f"⏳ Waiting for another command: pid {os.getpid()} (deploy --release=r9)" in waiting.stdout.readline()
        waiting.terminate()
        waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert state(site)["active_version"] is None


def test_logs_that_were_moved_away_are_found(site: Path, capsys: Captured) -> None:
    """As logrotate leaves them without `copytruncate`: the version writes on into what was moved."""
    deploy("start", "blue", "--release=r1")
    log = site / ".local_context" / "logs" / "blue.log"
    (log.parent / "blue.log.2.gz").touch()
    moved = log.rename(log.parent / "blue.log.1")
    capsys.readouterr()
    assert deploy("logs", "blue") == 0
    shown = capsys.readouterr()
    assert shown.out == "tiny app, release r1\n"
    assert f"⚠️  {log} was moved away; this is {moved}\n" == shown.err
    moved.unlink()
    assert deploy("logs", "blue") == 1
    assert "was moved away and compressed\n   Try: zless " in capsys.readouterr().err


def test_a_history_that_is_gone_is_not_said_to_be_the_first_day(site: Path, capsys: Captured) -> None:
    deploy("start", "blue")
    (site / ".local_context" / "history.jsonl").unlink()
    capsys.readouterr()
    assert deploy("history") == 0
    assert "is empty or gone; commands of before have changed the state" in capsys.readouterr().out
