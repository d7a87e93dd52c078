"""The link `[release] current`: wherever a command breaks off, it comes to lead to what is active."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.deploy.deployer import Overrides
from app.settings.tables.release_settings import ReleaseConfig
from tests.deploy.kill_points import calls_of, killed_at
from tests.deploy.rehearsal import Rehearsal
from tests.deploy.shop import ROOT, Shop
from tests.support.mounts import needs_root, read_only
from tests.support.waiting import wait_until

SETTINGS = 'dir = "releases/{release}"\ncurrent = "current"'


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """Releases r1 and r2; nothing runs."""
    shop.configure(release=SETTINGS)
    for name in ("r1", "r2"):
        shop.release(name, links=False)
    return shop


@pytest.fixture
def both(shop: Shop) -> Shop:
    """r1 is active on blue, r2 is on green."""
    shop.must("deploy", "--release=r1")
    shop.must("start", "green", "--release=r2")
    return shop


def led_to(shop: Shop) -> str:
    """The release that the link leads to."""
    assert shop.current.is_symlink()
    return os.path.relpath(shop.current.resolve(), shop.home / "releases")


# --- it follows the traffic -------------------------------------------------------------------------------


def test_link_leads_to_what_is_active_after_each_command(shop: Shop) -> None:
    for words, expected in [
        ("deploy --release=r1", "r1"),
        ("deploy --release=r2 --stop-old", "r2"),
        ("rollback", "r1"),
        ("switch green", "r2"),
        ("rollback --to=1", "r1"),
        ("restart blue", "r1"),
        ("stop blue --force", "r1"),
    ]:
        shop.must(*words.split())
        assert led_to(shop) == expected, words
    assert not [entry for entry in os.listdir(shop.home) if entry.endswith(".next")]


def test_link_leads_to_the_whole_release_where_the_command_runs_in_a_part(shop: Shop) -> None:
    shop.configure(app='dir = "backend"', release=SETTINGS)
    backend = shop.home / "releases" / "r1" / "backend"
    backend.mkdir()
    shop.code(backend, "r1")
    shop.must("deploy", "--release=r1")
    assert led_to(shop) == "r1"


@pytest.mark.parametrize("word", ["start", "run"])
def test_link_leads_to_what_the_active_version_is_started_with_anew(both: Shop, word: str) -> None:
    both.must("stop", "blue", "--force")
    if word == "start":
        both.must("start", "blue", "--release=r2")
        assert led_to(both) == "r2"
        return
    command: list[str | Path] = [sys.executable, ROOT / "bin" / "blue_green_deploy", "run", "blue", "--release=r2"]
    with subprocess.Popen(command, env=both.environ, stdout=subprocess.DEVNULL) as running:
        try:
            wait_until(lambda: led_to(both) == "r2", "the link to be moved")
            assert both.serving() == ("r2", "r2")
        finally:
            running.terminate()


def test_commands_after_the_switch_find_the_link_moved(both: Shop) -> None:
    both.configure(release=SETTINGS, deploy=f"post = [\"sh -c 'readlink {both.current} > {both.home}/seen'\"]")
    both.must("switch", "green")
    assert (both.home / "seen").read_text().endswith("/r2\n")


def test_a_switch_that_is_taken_back_takes_the_link_back(both: Shop) -> None:
    both.configure(release=SETTINGS, deploy='post = ["false"]')
    assert both.deploy("switch", "green").code == 3
    assert both.serving() == ("r1", "r1")
    assert led_to(both) == "r1"


def test_a_deploy_that_fails_before_the_switch_leaves_the_link(both: Shop) -> None:
    both.configure(release=SETTINGS, deploy='smoke = ["false"]')
    assert both.deploy("deploy", "--release=r2").code == 3
    assert led_to(both) == "r1"


def test_link_that_somebody_moved_is_told_by_status_and_moved_by_the_next_command(both: Shop) -> None:
    both.link("r2")
    assert f"⚠️  {both.current} leads to {both.home}/releases/r2, and blue runs in" in both.deploy("status").out
    assert led_to(both) == "r2", "status only looks"
    said = both.must("stop", "green")
    assert "current leads to the release of blue again" in said
    assert led_to(both) == "r1"
    known = both.status()["current"]
    assert known == {
        k: f"{both.home}/{v}"
        for k, v in {"path": "current", "leads_to": "releases/r1", "expected": "releases/r1"}.items()
    }


def test_link_follows_a_state_that_was_edited_by_hand(both: Shop) -> None:
    path = both.home / ".local_context" / "bg_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "active_version": "green"}))
    both.must("restart", "blue")
    assert led_to(both) == "r2"


def test_dangling_and_relative_links_are_as_good(both: Shop) -> None:
    both.current.unlink()
    both.current.symlink_to("releases/r1")
    both.must("stop", "green")
    assert os.readlink(both.current) == "releases/r1"
    both.current.unlink()
    both.current.symlink_to("nowhere")
    both.must("start", "green", "--release=r2")
    assert led_to(both) == "r1"


def test_nothing_is_linked_where_nobody_asked_for_it(shop: Shop) -> None:
    shop.configure(release='dir = "releases/{release}"')
    shop.must("deploy", "--release=r1")
    assert not os.path.lexists(shop.current)
    assert "linking" not in (shop.home / ".local_context" / "history.jsonl").read_text()


# --- it cannot be moved -----------------------------------------------------------------------------------


def as_directory(shop: Shop) -> None:
    shop.current.unlink(missing_ok=True)
    shop.current.mkdir()


def as_file(shop: Shop) -> None:
    shop.current.unlink(missing_ok=True)
    shop.current.write_text("mine")


@pytest.mark.parametrize("spoil", [as_directory, as_file])
def test_what_is_no_link_is_refused_before_anything_is_started(shop: Shop, spoil: Callable[[Shop], None]) -> None:
    spoil(shop)
    for words in (["deploy", "--release=r1"], ["start", "blue", "--release=r1"]):
        done = shop.deploy(*words)
        assert done.code == 2
        assert (
            f"the link {shop.current} cannot be moved: it is there, and is not a link; nothing was started" in done.err
        )
        assert f"mv {shop.current}" in done.err
    assert not (shop.home / ".local_context" / "history.jsonl").exists()
    assert not shop.current.is_symlink()


@needs_root
def test_a_place_where_nothing_can_be_written_is_refused_before_anything_is_started(shop: Shop) -> None:
    (shop.home / "links").mkdir()
    with read_only(shop.home / "links", shop.home / "view"):
        shop.configure(release='dir = "releases/{release}"\ncurrent = "view/current"')
        done = shop.deploy("deploy", "--release=r1")
    assert done.code == 2
    assert "Read-only file system; nothing was started" in done.err
    shop.configure(release='dir = "releases/{release}"\ncurrent = "nowhere/current"')
    assert shop.deploy("deploy", "--release=r1").code == 2


@pytest.mark.parametrize("words", ["switch green", "rollback"])
def test_traffic_does_not_wait_for_a_link_to_be_mended(both: Shop, words: str) -> None:
    if words == "rollback":
        both.must("switch", "green")
        both.must("switch", "blue")
    as_directory(both)
    done = both.deploy(*words.split())
    assert done.code == 1
    assert "is not a link; green is active, and the next command tries again" in done.err
    assert both.serving() == ("r2", "r2")
    both.current.rmdir()
    both.must("stop", "blue")
    assert led_to(both) == "r2"


def through(shop: Shop) -> Iterator[tuple[list[str], str]]:
    yield ["--dir=current"], ""
    yield [f"--dir={shop.home}/releases/../current/part"], ""
    yield [f"--command=sh {shop.current}/serve {{port}}"], ""
    yield [], f"python3 --config={shop.current}/x"


def test_a_release_is_not_started_through_the_link(both: Shop) -> None:
    """It leads to the release before until the switch: that one would be started under the name of the new one."""
    for folder in ("r1", "r2"):
        (both.home / "releases" / folder / "part").mkdir()
    for options, command in through(both):
        both.configure(release=SETTINGS, command=command)
        done = both.deploy("deploy", "--release=r2", *options)
        assert done.code == 2, options
        assert "until then it is the release before" in done.err
    both.configure()
    both.must("stop", "green")
    text = (both.home / "traffic_router.toml").read_text()
    (both.home / "traffic_router.toml").write_text(text.replace("[release]", '[release]\ncurrent = "current"'))
    assert both.deploy("deploy", "--release=r2").code == 2


# --- kill -9 ----------------------------------------------------------------------------------------------


def test_a_switch_killed_between_any_two_calls_leaves_a_link_that_the_next_command_puts_right(
    rehearsal: Rehearsal,
) -> None:
    link = rehearsal.home / "current"
    deployment = rehearsal.deployment

    def with_link(drain_timeout_s: float = 5.0) -> object:
        made = deployment(drain_timeout_s)
        made.release = ReleaseConfig(current=str(link))
        return made

    rehearsal.deployment = with_link  # type: ignore[method-assign, assignment]  # the settings of this test
    rehearsal.deployer().start("blue", Overrides(release="r1"))
    rehearsal.deployer().start("green", Overrides(release="r2"))

    def led_by_link() -> str:
        return link.resolve().name

    def switch() -> None:
        rehearsal.deployer("switch green").switch("green")

    def back() -> None:
        rehearsal.deployer("switch blue").switch("blue")

    calls, seen = calls_of(switch), set()
    back()
    for at in range(1, calls + 1):
        assert killed_at(switch, at, after=False), f"call {at} of {calls}"
        active = rehearsal.state.active_version
        seen.add((active, led_by_link()))
        rehearsal.deployer("any other").switch(str(active))
        assert led_by_link() == active
        back()
        assert (rehearsal.state.active_version, led_by_link()) == ("blue", "blue")
        assert rehearsal.history.unfinished() == []
    assert seen == {("blue", "blue"), ("green", "blue"), ("green", "green")}, "never ahead of the traffic"
