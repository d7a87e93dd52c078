"""What a command prints under `Try:` is typed as it stands, in the situation that prints it, and mends that.

A row of the table is a situation: what breaks a deployment in which blue is active and serves, and the commands that
meet it. Hints are followed one after the other until one ends well; then the same version is active on the same port,
and `status` has nothing to say against it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.command_line import PROGRAM
from tests.deploy.shop import ROOT, Done, Shop

MOST_HINTS = 3


class Situation(NamedTuple):
    """What is broken, and the commands that say so."""

    breaks: Callable[[Shop], object]
    commands: tuple[str, ...]


def state_file(shop: Shop) -> Path:
    return shop.home / ".local_context" / "bg_state.json"


def last_good(shop: Shop) -> Path:
    return state_file(shop).with_name("bg_state.last_good.json")


def tear(shop: Shop) -> None:
    """A comma is lost, as by an editor."""
    text = state_file(shop).read_text()
    state_file(shop).write_text(text.replace('"active_version": "blue",', '"active_version": "blue"'))


def empty(shop: Shop) -> None:
    state_file(shop).write_bytes(b"")


def put_another(shop: Shop) -> None:
    state_file(shop).write_text('{"name": "shop"}')


def put_fifo(shop: Shop) -> None:
    state_file(shop).unlink()
    os.mkfifo(state_file(shop))


def remove(shop: Shop) -> None:
    state_file(shop).unlink()


def remove_with_history(shop: Shop) -> None:
    remove(shop)
    (shop.home / ".local_context" / "history.jsonl").unlink()


def tear_without_last_good(shop: Shop) -> None:
    tear(shop)
    last_good(shop).unlink()


def remove_with_last_good(shop: Shop) -> None:
    remove(shop)
    last_good(shop).unlink()


def lose_target_of_link(shop: Shop) -> None:
    shared = shop.home / "shared"
    shared.mkdir()
    for path in (last_good(shop), shop.home / ".local_context" / "history.jsonl"):
        path.rename(shared / path.name)
    state_file(shop).unlink()
    state_file(shop).symlink_to(shared / "bg_state.json")


SITUATIONS = {
    "torn state": Situation(tear, ("status", "health-check", "switch blue", "start green", "deploy", "pause")),
    "empty state": Situation(empty, ("status", "switch blue")),
    "another file": Situation(put_another, ("status", "rollback")),
    "fifo": Situation(put_fifo, ("rollback",)),
    "no state": Situation(remove, ("status", "start green", "rollback", "maintenance on")),
    "no state, no history": Situation(remove_with_history, ("status", "start green")),
    "torn, none kept": Situation(tear_without_last_good, ("status", "deploy")),
    "no state, none kept": Situation(remove_with_last_good, ("start green",)),
    "a link to nowhere": Situation(lose_target_of_link, ("status", "start green")),
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Release r1 is active on blue, which listens where no default says."""
    shop = Shop(tmp_path_factory.mktemp("cures"))
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    yield shop
    shop.close()


@pytest.fixture
def shop(serving: Shop) -> Iterator[Shop]:
    """The deployment, whose files are what they were when the test is over; its processes run on."""
    folder = serving.home / ".local_context"
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".process"}
    yield serving
    for path in folder.iterdir():
        if path not in kept and not path.is_dir() and path.suffix != ".process":
            path.unlink()
    for path, content in kept.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    subprocess.run(["rm", "-rf", serving.home / "shared"], check=True)


def hints(done: Done) -> list[str]:
    return re.findall(r"Try: (.+)", done.out + done.err)


def follow(shop: Shop, hint: str) -> Done:
    """What comes of a hint that is typed; by a shell, unless it is a command of ours, which is quicker in here."""
    if hint.startswith(str(PROGRAM)):
        return shop.deploy(*shlex.split(hint.removeprefix(str(PROGRAM)), comments=True))
    ran = subprocess.run(hint, shell=True, cwd=ROOT, env=shop.environ, capture_output=True, text=True, timeout=60)
    return Done(ran.returncode, ran.stdout, ran.stderr)


def follow_all(shop: Shop, done: Done) -> Done:
    """Follow the hints until a command ends well."""
    for _ in range(MOST_HINTS):
        if done.code == 0:
            break
        assert hints(done), done
        done = follow(shop, hints(done)[-1])
    return done


@pytest.mark.parametrize(
    ("name", "command"), [(name, command) for name, it in SITUATIONS.items() for command in it.commands]
)
def test_a_printed_hint_mends_what_it_is_printed_for(shop: Shop, name: str, command: str) -> None:
    SITUATIONS[name].breaks(shop)
    done = shop.deploy(*shlex.split(command))
    assert done.code != 0
    assert "echo" not in done.err
    assert follow_all(shop, done).code == 0
    known = shop.status()
    assert (known["active_version"], known["state_fault"]) == ("blue", None)
    assert shop.serving() == ("r1", "r1")
    assert json.loads(state_file(shop).read_bytes())["versions"]["blue"]["port"] == shop.ports["blue"]


@pytest.mark.parametrize(("breaks", "text"), [(tear, "is not usable"), (remove, "there is no state file")])
def test_a_router_that_starts_says_what_mends_the_state(
    shop: Shop, breaks: Callable[[Shop], None], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.cli.start_checks import check_start
    from app.settings.loading import load

    breaks(shop)
    check_start(load({"main_port": "1", "state_file": str(state_file(shop))}, {"LISTEN_PID": str(os.getpid())}, {}))
    said = capsys.readouterr().err
    assert text in said
    assert "the last good state is served" in said
    assert follow_all(shop, Done(1, "", said)).code == 0
    assert shop.serving() == ("r1", "r1")
