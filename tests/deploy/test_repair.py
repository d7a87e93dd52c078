"""`repair`: what is shown, what is restored, what is refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from app.state.last_good import LastGood
from app.state.store import StateStore, last_good_path
from app.state.watch import StateWatch
from tests.deploy.instances import step
from tests.deploy.shop import ROOT, Shop
from tests.deploy.test_cures import last_good, remove, state_file, tear


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """Release r1 is active on blue."""
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    return shop


def test_the_difference_is_shown_and_nothing_is_done(shop: Shop) -> None:
    tear(shop)
    broken = state_file(shop).read_bytes()
    out = shop.must("repair", "--dry-run")
    assert '| -  "active_version": "blue"\n' in out
    assert '| +  "active_version": "blue",\n' in out
    assert f"blue would be active, and listens on port {shop.ports['blue']}" in out
    assert state_file(shop).read_bytes() == broken


def test_the_broken_file_is_kept_aside_and_the_history_tells(shop: Shop) -> None:
    tear(shop)
    broken = state_file(shop).read_bytes()
    told = json.loads(shop.must("repair", "--yes", "--json"))
    assert (told["restored"], told["active_version"]) == (True, "blue")
    assert Path(told["kept_as"]).read_bytes() == broken
    assert ".broken-" in told["kept_as"]
    shop.must("history", "--verify")
    assert json.loads(shop.must("history", "--json", "--limit=1"))[0]["operation"] == "repair"
    shop.must("deploy", "--release=r2")
    shop.must("rollback")
    assert shop.serving()[0] == "r1"


def test_a_good_state_is_left_alone(shop: Shop) -> None:
    before = state_file(shop).read_bytes()
    done = shop.deploy("repair", "--yes")
    assert (done.code, "is fine" in done.err, state_file(shop).read_bytes()) == (1, True, before)


def test_nothing_known_is_said(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    remove(shop)
    done = shop.deploy("repair", "--yes")
    assert (done.code, "nothing is known" in done.err, "start blue" in done.err) == (1, True, True)


def test_an_older_last_good_state_is_brought_up_by_the_history(shop: Shop) -> None:
    old = last_good(shop).read_bytes()
    shop.must("deploy", "--release=r2")
    shop.must("deploy", "--release=r3")
    shop.must("deploy", "--release=r4")
    last_good(shop).write_bytes(old)
    tear(shop)
    state_file(shop).write_bytes(b"{")
    out = shop.must("repair", "--yes")
    assert "the history: `deploy --release=r2`, `deploy --release=r3`, `deploy --release=r4`" in out
    assert shop.serving()[0] == "r4"
    shop.must("rollback")
    assert shop.serving()[0] == "r3"


@pytest.mark.parametrize(("answer", "is_restored"), [("y", True), ("n", False), ("", False)])
def test_somebody_is_asked_on_a_terminal(shop: Shop, answer: str, is_restored: bool) -> None:
    tear(shop)
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "bin" / "blue_green_deploy"), "repair"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, env=shop.environ) as asked:
        os.write(ours, f"{answer}\n".encode())
        out, _ = asked.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert b"Restore it? [y/N]" in out
    assert (asked.returncode == 0, not shop.deploy("status").err) == (is_restored, is_restored)


def test_the_secret_of_the_previews_is_not_shown(shop: Shop) -> None:
    shop.must("start", "green", "--release=r1")
    shop.must("preview", "green")
    secret = json.loads(state_file(shop).read_text())["preview_key"]
    state_file(shop).write_text(f'{{"preview_key": "{secret}"')
    assert secret not in shop.must("repair", "--dry-run")


# --- the last good state beside the file ------------------------------------------------------------------


def test_a_router_keeps_what_was_edited_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "bg_state.json"
    path.write_text('{"active_version": "green"}')
    watch = StateWatch(path)
    watch.share(LastGood.shared())
    assert watch.current() is not None
    assert last_good_path(path).read_text() == '{"active_version": "green"}'


def test_a_program_that_only_reads_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bg_state.json"
    path.write_text('{"active_version": "green"}')
    assert StateWatch(path).current() is not None
    assert os.listdir(tmp_path) == ["bg_state.json"]


@pytest.mark.parametrize("broken", [b"", b"{", None])
def test_a_router_that_starts_serves_the_last_good_state(tmp_path: Path, broken: bytes | None) -> None:
    path = tmp_path / "bg_state.json"
    last_good_path(path).write_text('{"active_version": "green", "versions": {"green": {"port": 8002}}}')
    if broken is not None:
        path.write_bytes(broken)
    for watch in (StateWatch(path), StateWatch(path)):
        watch.share(LastGood.shared())
        state = watch.current()
        assert state is not None
        assert state.active is not None
        assert state.active.port == 8002
        assert watch.fault.endswith("serving the last good state")


def test_a_last_good_state_that_is_broken_itself_is_none(tmp_path: Path) -> None:
    path = tmp_path / "bg_state.json"
    last_good_path(path).write_bytes(b"{")
    assert StateWatch(path).current() is None
    assert StateStore(path).last_good() is None


def test_ports_are_those_of_the_state_then_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "bg_state.json"
    path.write_text('{"active_version": "green", "versions": {"blue": {"port": 8001}}}')
    ports = {"blue": 7001, "green": 7002}
    state = StateWatch(path, ports).current()
    assert state is not None
    for known in (state, StateStore(path, ports).read()):
        assert {name: version.port for name, version in known.versions.items()} == {"blue": 8001, "green": 7002}
    assert StateStore(tmp_path / "none.json", ports).read_or_new().version("blue").port == 7001


def test_settings_name_the_ports_of_a_deployment(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    remove(shop)
    shop.release("r1")
    shop.configure(app=f"blue_port = {shop.ports['blue']}\ngreen_port = {shop.ports['green']}")
    try:
        shop.must("start", "blue", "--release=r1")
        assert shop.serving() == ("r1", "r1")
        shop.configure(app=f"blue_port = {shop.ports['green']}\ngreen_port = {shop.ports['blue']}")
        line = next(line for line in shop.deploy("status").out.splitlines() if "Settings and state differ" in line)
        assert f"blue listens on port {shop.ports['blue']}, and the settings say {shop.ports['green']}" in line
    finally:
        shop.close()


@pytest.mark.parametrize("keeps_last_good", [True, False])
def test_all_processes_of_a_version_are_found_again(shop: Shop, *, keeps_last_good: bool) -> None:
    """Also those that were added after the last good state was kept."""
    shop.must("stop", "blue", "--force")
    shop.configure(app=f"instances = 2\ninstance_port_step = {step()}\n")
    shop.must("start", "blue")
    known = last_good(shop).read_bytes()
    shop.must("scale", "blue", "3")
    places = json.loads(state_file(shop).read_text())["versions"]["blue"]["instances"]
    remove(shop)
    last_good(shop).write_bytes(known)
    if not keeps_last_good:
        last_good(shop).unlink()
        state_file(shop).write_text('{"active_version": "blue", "versions": {')
    shop.must("repair", "--yes")
    assert json.loads(state_file(shop).read_text())["versions"]["blue"]["instances"] == places
    shop.must("restart", "blue")
    shop.must("stop", "blue", "--force")
