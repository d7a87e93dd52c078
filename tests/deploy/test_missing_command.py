"""A deployment that has lost its settings does not put the bundled demo in front of its users."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "home")
    yield shop
    shop.close()


@pytest.fixture
def running(shop: Shop) -> Shop:
    """Release r1 is active, with its settings in the home."""
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    return shop


def lose_file(shop: Shop) -> None:
    (shop.home / "traffic_router.toml").rename(shop.home / "moved.toml")


def lose_command(shop: Shop) -> None:
    (shop.home / "traffic_router.toml").write_text("[app]\nhealthy_after = 1\n")


def lose_home(shop: Shop) -> None:
    """The state is where it was, and the settings are looked for elsewhere."""
    elsewhere = shop.home.parent / "elsewhere"
    elsewhere.mkdir()
    shop.environ["TRAFFIC_ROUTER_STATE_FILE"] = str(shop.home / ".local_context" / "bg_state.json")
    shop.environ["TRAFFIC_ROUTER_HOME"] = str(elsewhere)


def forget_records(shop: Shop) -> None:
    """As an older program left it: what ran is in the state and the history alone."""
    for path in (shop.home / ".local_context" / "releases").glob("*.json"):
        path.unlink()


LOSSES = [lose_file, lose_command, lose_home]


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        *((lose, ["deploy", "--release=r5"]) for lose in LOSSES),
        *((lose_file, words) for words in (["start", "green"], ["start", "green", "--release=r5"], ["run", "green"])),
    ],
)
def test_a_lost_command_is_refused(running: Shop, lose: Callable[[Shop], None], words: list[str]) -> None:
    lose(running)
    done = running.deploy(*words)
    assert done.code == 2
    path = Path(running.environ["TRAFFIC_ROUTER_HOME"]) / "traffic_router.toml"
    assert "no command is set, and release r1 was started with" in done.err
    assert f"[app] command was looked for in {path}, which" in done.err
    assert f"($TRAFFIC_ROUTER_HOME = {path.parent})" in done.err
    assert running.told("blue")["CODE"] == "r1"
    assert running.deploy("health-check", "green").code == 3


def test_the_state_and_the_history_remember_where_records_are_gone(running: Shop) -> None:
    lose_file(running)
    forget_records(running)
    assert running.deploy("deploy").code == 2
    state = running.home / ".local_context" / "bg_state.json"
    known = json.loads(state.read_text())
    state.write_text(
        json.dumps({"active_version": "blue", "versions": {"blue": {"port": known["versions"]["blue"]["port"]}}})
    )
    said = running.deploy("deploy")
    assert (said.code, "of the history ran" in said.err) == (2, True)


def test_a_version_that_others_run_is_something_else(shop: Shop) -> None:
    lose_file(shop)
    (shop.home / ".local_context" / "bg_state.json").write_text('{"active_version": "blue"}')
    done = shop.deploy("deploy")
    assert (done.code, "blue, which is active, was not started from here" in done.err) == (2, True)


def test_a_release_is_not_made_the_demo(running: Shop) -> None:
    lose_file(running)
    done = running.deploy("restart", "blue", "--reconfigure")
    assert (done.code, "no command is set" in done.err) == (2, True)
    assert running.told("blue")["CODE"] == "r1"


def test_what_is_on_record_starts_again_without_settings(running: Shop) -> None:
    lose_file(running)
    running.must("restart", "blue")
    assert running.told("blue")["CODE"] == "r1"


@pytest.mark.parametrize("words", [["start", "blue", "--dir=."], ["deploy", "--dir=/"]])
def test_a_directory_without_a_command_is_refused(shop: Shop, words: list[str]) -> None:
    lose_file(shop)
    done = shop.deploy(*words)
    assert (done.code, "nothing says what to run there" in done.err) == (2, True)


def test_a_directory_in_the_settings_without_a_command_is_refused(shop: Shop) -> None:
    (shop.home / "traffic_router.toml").write_text('[app]\ndir = "/srv/shop"\n')
    done = shop.deploy("start", "blue")
    assert (done.code, "the settings name a directory, /srv/shop, and no command" in done.err) == (2, True)


def test_the_hint_helps_with_options(running: Shop) -> None:
    lose_file(running)
    hint = running.deploy("deploy", "--release=r5").err.partition("Try: the same with ")[2]
    options = shlex.split(hint.partition(", or with --demo")[0])
    running.must("deploy", "--release=r5", *options)
    assert running.serving() == ("r5", "r1")


def test_the_hint_helps_with_the_home(running: Shop) -> None:
    lose_home(running)
    hint = re.search(r"Try: export TRAFFIC_ROUTER_HOME=(\S+)", running.deploy("deploy", "--release=r5").err)
    assert hint is not None
    running.environ["TRAFFIC_ROUTER_HOME"] = hint[1]
    running.must("deploy", "--release=r5")
    assert running.serving() == ("r5", "r1")


@pytest.mark.parametrize("words", [["start", "green", "--demo"], ["deploy", "--demo", "--release=r5"]])
def test_who_insists_gets_the_demo(running: Shop, words: list[str]) -> None:
    out = running.must(*words)
    assert "Command: the bundled demo application" in out


def test_the_demo_goes_on_where_nothing_else_ever_ran(shop: Shop) -> None:
    lose_file(shop)
    for words in (["start", "blue"], ["deploy"], ["deploy", "--release=r2", "--stop-old"], ["restart", "blue"]):
        shop.must(*words)
    forget_records(shop)
    shop.must("deploy")


def test_the_demo_of_lost_settings_is_refused(shop: Shop) -> None:
    (shop.home / "traffic_router.toml").write_text("[app]\nhealthy_after = 1\n")
    shop.must("start", "blue")
    shop.must("deploy")
    lose_file(shop)
    done = shop.deploy("deploy")
    assert (done.code, "traffic_router.toml, with which the demo was started, is not in use" in done.err) == (2, True)
    shop.must("deploy", "--demo")


# --- what differs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lose", "text"),
    [
        (lose_file, "and there is no traffic_router.toml now"),
        (lose_command, "and the settings name no command"),
        (lose_home, "and there is no traffic_router.toml now"),
        (lambda shop: shop.configure(dir_="/srv/other"), "and the settings say /srv/other"),
    ],
    ids=["file", "command", "home", "dir"],
)
def test_differing_settings_are_told(running: Shop, lose: Callable[[Shop], None], text: str) -> None:
    assert "and state differ" not in running.deploy("status").out
    lose(running)
    line = next(line for line in running.deploy("status").out.splitlines() if "Settings and state differ" in line)
    assert text in line
    assert str(running.status()["differs"]).endswith(text)
    said = running.deploy("deploy", "--release=r2")
    assert f"⚠️  settings and state differ: {line.partition('differ: ')[2]}" in said.out + said.err
