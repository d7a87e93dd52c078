"""`blue_green_deploy`'s pause, maintenance, preview, checks and receipts as they are typed and printed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from app.cli.deploy_events import EventPrinter, receipt_lines
from app.cli.entry import run
from app.deploy.events import Watched, Watching
from app.deploy.phases import Operation
from app.deploy.record.history import History, Intent
from app.deploy.record.receipt import Receipt, VersionReceipt
from app.deploy.traffic import TrafficSample
from app.operator_errors import Doubtful
from app.state.model import with_split
from app.state.preview_token import verify
from app.state.process_birth import birth
from app.state.split import Split
from app.state.store import StateStore
from tests.cli.test_blue_green_deploy import Captured, deploy, state, version

# --- pause, maintenance, preview -------------------------------------------------------------------------


@pytest.fixture
def blue(site: Path, capsys: Captured) -> Path:
    """Blue runs and is active."""
    assert deploy("start", "blue", "--release=r1") == 0
    capsys.readouterr()
    return site


def test_pause_and_resume_say_what_holds(blue: Path, capsys: Captured) -> None:
    assert deploy("pause", "--max-hold=60") == 0
    out = capsys.readouterr().out
    assert "⏸️  Paused: new requests wait" in out
    assert "(60 s from now), or with: python3 bin/blue_green_deploy resume" in out
    assert "The router is not running" in out
    deploy("status")
    assert "⏸️  PAUSED: new requests wait" in capsys.readouterr().out
    deploy("status", "--json")
    pause = json.loads(capsys.readouterr().out)["pause"]
    assert round(pause["until"] - pause["since"]) == 60
    assert deploy("resume") == 0
    assert "▶️  Requests flow again" in capsys.readouterr().out
    assert deploy("resume") == 0
    assert "Nothing is paused" in capsys.readouterr().out
    assert deploy("pause", "--drain") == 0
    assert "⏸️  Quiet: no request is in flight" in capsys.readouterr().out


def test_share_of_the_standby_is_told_while_it_has_one(blue: Path, capsys: Captured) -> None:
    assert deploy("start", "green", "--release=r2") == 0
    store = StateStore(blue / ".local_context" / "bg_state.json")
    store.write(with_split(store.read(), Split("green", 250, time.time() + 60)))
    capsys.readouterr()
    deploy("status")
    assert "🐤 SHARED: green has 2.5 % of the requests\n" in capsys.readouterr().out
    deploy("status", "--json")
    assert json.loads(capsys.readouterr().out)["split"]["weight"] == 250
    assert deploy("canary", "abort") == 0
    capsys.readouterr()
    deploy("status", "--json")
    assert "split" not in json.loads(capsys.readouterr().out)


def test_maintenance_says_what_clients_get(blue: Path, capsys: Captured) -> None:
    on = ("maintenance", "on", "--message=Back at nine", "--retry-after=60")
    assert deploy(*on, "--allow=10.0.0.0/8,::1", "--allow=192.0.2.7") == 0
    out = capsys.readouterr().out
    assert "🚧 Maintenance: clients get 503 and Retry-After: 60" in out
    assert "Let through: 10.0.0.0/8, ::1, 192.0.2.7" in out
    deploy("status")
    out = capsys.readouterr().out
    assert "🚧 MAINTENANCE: clients get 503" in out
    assert "The page says: Back at nine" in out
    deploy("status", "--json")
    assert json.loads(capsys.readouterr().out)["maintenance"]["allow"] == ["10.0.0.0/8", "::1", "192.0.2.7"]
    assert deploy("maintenance", "off") == 0
    assert "Maintenance is over" in capsys.readouterr().out
    assert deploy("maintenance", "off") == 0
    assert "There is no maintenance" in capsys.readouterr().out
    assert deploy("maintenance", "on") == 0
    assert "Let through: nobody" in capsys.readouterr().out


def test_maintenance_can_have_an_end(blue: Path, capsys: Captured) -> None:
    assert deploy("maintenance", "on", "--message=Back soon", "--for=90") == 0
    out = capsys.readouterr().out
    assert "Retry-After: 90" in out
    assert "It ends by itself at " in out
    deploy("status")
    assert "It ends at " in capsys.readouterr().out
    assert deploy("maintenance", "on", "--until=2099-01-01T10:00") == 2
    assert "within 30 days" in capsys.readouterr().err
    assert deploy("maintenance", "on", "--until=23:59:59") == 0
    assert "The page says: Back soon" in capsys.readouterr().out
    maintenance = state(blue)["maintenance"]
    assert isinstance(maintenance, dict)
    end = datetime.fromtimestamp(maintenance["until"])
    assert (end.hour, end.minute, end.second) == (23, 59, 59)


def test_a_preview_is_a_link_that_holds(blue: Path, capsys: Captured) -> None:
    assert deploy("preview", "--for=90") == 0
    out = capsys.readouterr().out
    assert "👀 Preview of green, for 1 min 30 s" in out
    token = out.split("__router_preview=")[1].split()[0]
    assert verify(str(state(blue)["preview_key"]), token, time.time()) == "green"
    assert f"curl -H 'X-Router-Preview: {token}' http://127.0.0.1:" in out
    assert "green does not run" in out
    assert deploy("preview", "blue") == 0
    assert "blue is active, so everybody sees it already" in capsys.readouterr().out
    deploy("status", "--json")
    assert str(state(blue)["preview_key"]) not in capsys.readouterr().out


def test_a_preview_for_programs(blue: Path, capsys: Captured) -> None:
    assert deploy("preview", "--for=90", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == "green"
    assert verify(str(state(blue)["preview_key"]), found["token"], time.time()) == "green"
    assert found["url"].endswith(f"/?__router_preview={found['token']}")
    assert (found["field"], 80 < found["expires_at"] - time.time() <= 90) == ("X-Router-Preview", True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("preview", "--for=0"), "--for=0: expected a number of seconds from 1 to 2592000"),
        (("pause", "--max-hold=0"), "--max-hold=0: expected a number of seconds from 1 to 3600"),
        (("pause", "--max-hold=soon"), "--max-hold=soon: expected a number"),
        (("pause", "--max-hold=nan"), "--max-hold=nan: expected a number"),
        (("maintenance", "on", "--allow=10.0.0.1/8"), "--allow=10.0.0.1/8: expected an IP address or a network"),
        (("maintenance", "on", "--retry-after=-1"), "--retry-after=-1: expected"),
        (("maintenance", "on", "--for=60", "--until=22:30"), "one of them is enough"),
        (("maintenance", "on", "--for=60", "--retry-after=9"), "clients are told the end"),
        (("maintenance", "on", "--until=tomorrow"), "--until=tomorrow: expected a time to come"),
        (("maintenance", "on", f"--message={'x' * 1001}"), "--message has 1001 characters"),
        (("switch", "green", "--on-timeout=panic"), "--on-timeout=panic: expected fail, wait, proceed"),
        (("deploy", "--watch=never"), "--watch=never: expected a number of seconds"),
        (("rollback", "--to=last"), "--to=last: expected a whole number"),
        (("preview", "red"), "there is no version 'red'"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(blue: Path, capsys: Captured, argv: tuple[str, ...], message: str) -> None:
    before = state(blue)
    assert deploy(*argv) == 2
    assert message in capsys.readouterr().err
    assert state(blue) == before


# --- history ---------------------------------------------------------------------------------------------


def test_a_history_that_was_tampered_with_is_found(blue: Path, capsys: Captured) -> None:
    assert deploy("history", "--verify") == 0
    out = capsys.readouterr().out
    assert "lines, and none was changed, taken out or put in" in out
    path = blue / ".local_context" / "history.jsonl"
    lines = path.read_text().splitlines()
    assert f"Last hash: {json.loads(lines[-1])['hash']}" in out
    path.write_text("\n".join([lines[0].replace('"r1"', '"r9"'), *lines[1:]]) + "\n")
    assert deploy("history", "--verify") == 1
    captured = capsys.readouterr()
    assert "❌ line 1 was changed after it was written" in captured.out
    assert "is not as it was written" in captured.err
    path.write_text("\n".join(lines[:2]) + "\n")
    deploy("pause", "--max-hold=1")
    capsys.readouterr()
    path.write_text("\n".join(lines[:2]) + "\n")
    assert deploy("history", "--verify") == 1
    assert "❌ line 3 is missing: the state file was changed by a later command (" in capsys.readouterr().out
    path.write_text('{"id": "old"}\n')
    deploy("resume")
    deploy("pause")
    capsys.readouterr()
    assert deploy("history", "--verify") == 0
    assert "The first 1 are from before lines were chained" in capsys.readouterr().out


def test_rollback_to_a_number_of_the_history(blue: Path, capsys: Captured) -> None:
    deploy("deploy", "--release=r2")
    assert deploy("rollback", "--to=1") == 0
    assert state(blue)["active_version"] == "blue"
    assert deploy("rollback", "--to=7") == 1
    assert "the history has no command 7; it has 3" in capsys.readouterr().err


# --- around a switch -------------------------------------------------------------------------------------


def test_smoke_and_post_commands_are_shown(blue: Path, capsys: Captured) -> None:
    toml = blue / "traffic_router.toml"
    toml.write_text(toml.read_text() + "[deploy]\nsmoke = 'true {port}'\npost = [\"sh -c 'echo no luck; exit 1'\"]\n")
    assert deploy("deploy", "--release=r2") == 3
    captured = capsys.readouterr()
    assert f"✅ true {version(blue, 'green')['port']} (" in captured.out
    assert "❌ sh -c 'echo no luck; exit 1' (" in captured.out
    assert "   | no luck" in captured.out
    assert "↩️  Rolled back: blue is active again" in captured.out
    assert "a post command failed" in captured.err
    assert state(blue)["active_version"] == "blue"


def test_a_receipt_is_a_table() -> None:
    none = VersionReceipt(0, 0, 0, 0, 0, held=0, held_mean_ms=None, held_max_ms=None, retried=0)
    holds = {"held": 4, "held_mean_ms": 45.0, "held_max_ms": 1340.0}
    well = VersionReceipt(started=1200, finished=1190, cut=0, in_flight=10, failed=3, retried=2, **holds)  # type: ignore[arg-type]  # by name
    waited = none._replace(held=2, held_mean_ms=30.0, held_max_ms=40.0)
    assert receipt_lines(Receipt({"blue": none, "green": well, "router": none}, 2.0, 1.5)) == [
        "🧾 Requests since the switch, 2.0 s, drained in 1.5 s",
        "   blue        0 = 0 finished + 0 cut + 0 in flight",
        "   green   1,200 = 1,190 finished + 0 cut + 10 in flight"
        "  (3 of the finished with an error 5xx; 4 held, 45.0 ms on average, the longest 1.34 s; 2 retried)",
    ]
    assert len(receipt_lines(Receipt({"blue": none, "green": well, "router": waited}, 2.0))) == 4
    assert receipt_lines(Receipt({"blue": none, "green": none}, 2.0)) == [
        "🧾 No request was in flight at the switch, and none has come since"
    ]


def test_a_receipt_names_some_of_the_cut_requests() -> None:
    ids = tuple(f"id-{number}" for number in range(100))
    cut = VersionReceipt(1500, 0, 1500, 0, 1500, 0, None, None, 0, ids)
    lines = receipt_lines(Receipt({"blue": cut}, 2.0))
    assert lines[1].startswith("   blue    1,500 = 0 finished + 1,500 cut")
    assert lines[2:4] == ["           cut: id-0", "           cut: id-1"]
    assert (len(lines), lines[-1]) == (23, "           and 1,480 more")
    one = VersionReceipt(1, 0, 1, 0, 1, 0, None, None, 0, ("id-0",))
    assert receipt_lines(Receipt({"blue": one}, 2.0))[-1] == "           cut: id-0"


@pytest.mark.parametrize("is_old", [False, True])
def test_the_history_tells_of_cut_requests(blue: Path, capsys: Captured, is_old: bool) -> None:
    account: dict[str, object] = {"started": 3, "finished": 1, "cut": 2, "in_flight": 0}
    if not is_old:  # receipts of earlier releases lack the newer keys
        account |= {"cut_ids": ["id-0", "id-1"], "held_max_ms": None}
    history = History(blue / ".local_context" / "history.jsonl")
    intent = Intent(Operation.SWITCH, "switch green", "green", "blue", "green", None, ())
    history.begin(intent).close("done", receipt={"versions": {"blue": account, "green": {**account, "cut": 0}}})
    assert deploy("history") == 0
    assert "2 cut: see `history --json` for the receipt" in capsys.readouterr().out
    assert deploy("history", "--verify") == 0


def test_a_watch_is_told(capsys: Captured) -> None:
    printer = EventPrinter()
    printer(Watching("green", 9.0, TrafficSample(10, 0, 20.0), TrafficSample(5, 1, None)))
    printer(Watched("green", TrafficSample(10, 0, 20.0), TrafficSample(5, 1, None), "not proven", "not compared"))
    printer(Watching("green", 9.0, TrafficSample(10, 0, 20.0), TrafficSample(0, 0, None)))
    out = capsys.readouterr().out
    assert "👀 green was watched: 1 of 5 requests failed (20.0 %)\n" in out
    assert "   before the switch: 0 of 10 requests failed (0.0 %), 95 % within" in out
    assert "   errors: not proven\n   times: not compared\n" in out


def test_what_is_done_but_doubtful_is_a_warning_with_an_exit_code(capsys: Captured) -> None:
    def command(_: Sequence[str]) -> int:
        raise Doubtful("green is active, but doubtful", "rollback")

    assert run(command, []) == 5
    assert capsys.readouterr().err == "⚠️  green is active, but doubtful\n   Try: rollback\n"


def test_preview_names_the_port_of_the_router_that_runs(site: Path, capsys: Captured) -> None:
    """And not that of the settings here, where `PORT` may be the shell's."""
    deploy("start", "blue")
    process = psutil.Process()
    record = {"pid": process.pid, "port": 7004, "birth": birth(process.pid)}
    (site / ".local_context" / "router.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert deploy("preview", "blue", "--json") == 0
    assert json.loads(capsys.readouterr().out)["url"].startswith("http://127.0.0.1:7004/?")
    (site / ".local_context" / "router.json").unlink()
    assert deploy("preview", "blue") == 0
    assert "⚠️  The router is not running: python3 bin/traffic_router start" in capsys.readouterr().out
