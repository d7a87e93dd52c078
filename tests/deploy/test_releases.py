"""A release stays what it was: whatever was moved meanwhile, the code that answers is the one that is named."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.shop import Shop

# --- a link that moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_explicit", [False, True], ids=["configured", "by option"])
def test_rollback_starts_the_code_of_the_release_not_where_the_link_leads_now(shop: Shop, is_explicit: bool) -> None:
    options = [f"--dir={shop.current}"] if is_explicit else []
    shop.release("r1")
    shop.must("start", "blue", "--release=r1", *options)
    shop.release("r2")
    shop.must("deploy", "--release=r2", "--stop-old", *options)
    assert shop.serving() == ("r2", "r2")
    shop.must("rollback")
    assert shop.serving() == ("r1", "r1")


def test_rollback_after_a_refused_deploy_does_not_make_the_refused_release_live(shop: Shop) -> None:
    shop.configure(deploy="smoke = [\"sh -c 'test $BG_RELEASE != r3'\"]")
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    shop.release("r2")
    shop.must("deploy", "--release=r2")
    shop.release("r3")
    assert shop.deploy("deploy", "--release=r3").code == 3
    assert shop.serving() == ("r2", "r2")
    shop.must("rollback")
    assert shop.serving() == ("r1", "r1")


@pytest.mark.parametrize("words", [["restart", "blue"], ["start", "blue"]], ids=lambda words: words[0])
def test_what_is_started_again_is_what_it_was(shop: Shop, words: list[str]) -> None:
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    shop.release("r2")
    if words[0] == "start":
        shop.must("stop", "blue", "--force")
    shop.must(*words)
    assert shop.serving() == ("r1", "r1")


def test_rollback_to_an_earlier_command_starts_what_was_active_then(shop: Shop) -> None:
    for name in ("r1", "r2", "r3"):
        shop.release(name)
        shop.must("deploy", f"--release={name}")
    shop.must("rollback", "--to=1")
    assert shop.serving() == ("r1", "r1")


def test_links_on_the_way_of_the_command_and_of_the_search_path_are_followed(shop: Shop) -> None:
    """One virtual environment per release: neither the directory nor the settings name it."""
    shop.configure(dir_=str(shop.home), command=f"sh {shop.current}/serve {{port}}")
    for name in ("r1", "r2"):
        folder = shop.release(name)
        (folder / "serve").write_text(f'exec {sys.executable} -I -S "$(dirname "$0")/app.py" $1 "$(which tool)"\n')
        (folder / "tool").write_text("#!/bin/sh\n")
        (folder / "tool").chmod(0o755)
        path = {"PATH": f"{shop.current}:{os.environ['PATH']}"}
        shop.must(*(["start", "blue"] if name == "r1" else ["deploy", "--stop-old"]), f"--release={name}", **path)
    shop.must("rollback")
    assert shop.serving() == ("r1", "r1")
    assert shop.told("blue")["ARGUMENTS"] == f"{shop.home}/releases/r1/tool"


# --- settings and shells that change ----------------------------------------------------------------------


def test_changed_settings_do_not_change_a_release_until_they_are_asked_for(shop: Shop) -> None:
    shop.release("r1")
    shop.configure(app='env = {COLOUR = "red"}')
    shop.must("start", "blue", "--release=r1", DATABASE_URL="postgres://one")
    shop.configure(command=f"{sys.executable} -I -S app.py {{port}} changed", app='env = {COLOUR = "green"}')
    said = shop.must("restart", "blue")
    told = shop.told("blue")
    assert (told["COLOUR"], told["ARGUMENTS"], told["DATABASE_URL"]) == ("red", "", "postgres://one")
    assert "[app] command and [app] env changed since" in said
    assert "restart blue --reconfigure" in said
    shop.release("r2")
    shop.must("restart", "blue", "--reconfigure", DATABASE_URL="postgres://two")
    told = shop.told("blue")
    assert (told["COLOUR"], told["ARGUMENTS"], told["DATABASE_URL"]) == ("green", "changed", "postgres://two")
    assert shop.serving() == ("r1", "r1")


def test_a_rollback_typed_in_another_shell_starts_the_same_environment(shop: Shop) -> None:
    shop.release("r1")
    shop.must("start", "blue", "--release=r1", DATABASE_URL="postgres://one", LANG="C.UTF-8")
    before = dict(shop.told("blue"))
    shop.release("r2")
    shop.must("deploy", "--release=r2", "--stop-old", DATABASE_URL="postgres://two")
    shop.must("rollback", OTHER_SHELL="1", LANG="de_DE.UTF-8")
    assert dict(shop.told("blue")) == before


def test_a_smoke_command_runs_where_the_version_does(shop: Shop) -> None:
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    shop.must("start", "green", "--release=r1", MARK="of the start")
    shop.release("r2")
    shop.configure(deploy="smoke = [\"sh -c 'pwd; echo $MARK; exit 1'\"]")
    said = shop.deploy("switch", "green")
    assert (said.code, f"| {shop.home}/releases/r1" in said.out, "| of the start" in said.out) == (3, True, True)


def test_a_start_with_options_is_of_something_new(shop: Shop) -> None:
    shop.must("start", "blue", "--release=r1", f"--dir={shop.release('r1')}")
    shop.must("stop", "blue", "--force")
    shop.release("r2")
    shop.must("start", "blue", "--release=r2")
    assert shop.serving() == ("r2", "r2")


def test_a_demo_is_left_for_the_application_once_there_is_one(shop: Shop) -> None:
    (shop.home / "traffic_router.toml").write_text("[app]\nhealthy_after = 1\n")
    shop.must("start", "blue")
    shop.must("stop", "blue", "--force")
    shop.configure()
    shop.release("r1")
    shop.must("start", "blue")
    assert shop.told("blue")["CODE"] == "r1"


# --- what cannot be made again ----------------------------------------------------------------------------


@pytest.fixture
def r1_is_stopped(shop: Shop) -> Shop:
    """Release r2 is active, and r1 is where a rollback leads."""
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    shop.release("r2")
    shop.must("deploy", "--release=r2", "--stop-old")
    return shop


def refused(shop: Shop, *words: str) -> str:
    """What is said of a command that is refused; what serves stays as it is."""
    before = shop.serving()
    done = shop.deploy(*words)
    assert done.code == 1, done
    assert shop.serving() == before
    assert "Try: python3 bin/blue_green_deploy deploy --release=NAME --dir=DIRECTORY" in done.err
    return done.err


WAYS = [["rollback"], ["start", "blue"], ["restart", "blue"], ["rollback", "--to=1"]]


@pytest.mark.parametrize("words", WAYS, ids=" ".join)
def test_a_release_whose_directory_was_pruned_is_refused(r1_is_stopped: Shop, words: list[str]) -> None:
    shutil.rmtree(r1_is_stopped.home / "releases" / "r1")
    said = refused(r1_is_stopped, *words)
    assert f"release r1 cannot be started again: its directory {r1_is_stopped.home}/releases/r1 is gone" in said


def test_a_directory_that_was_made_anew_is_not_the_release(r1_is_stopped: Shop) -> None:
    folder = r1_is_stopped.home / "releases" / "r1"
    folder.rename(folder.with_name("was-r1"))
    shutil.copytree(folder.with_name("was-r1"), folder)
    assert f"{folder} was removed and made anew" in refused(r1_is_stopped, "rollback")


def test_a_file_of_the_command_that_was_changed_is_not_the_release(r1_is_stopped: Shop) -> None:
    r1_is_stopped.code(r1_is_stopped.home / "releases" / "r1", "hotfix")
    assert "releases/r1/app.py is not what it was" in refused(r1_is_stopped, "rollback")


def test_a_program_that_is_gone_is_named(shop: Shop) -> None:
    shop.configure(command=f"{shop.home}/tools/python -I -S app.py {{port}}")
    (shop.home / "tools").mkdir()
    (shop.home / "tools" / "python").symlink_to(sys.executable)
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    shop.release("r2")
    shop.must("deploy", "--release=r2", "--stop-old", f"--command={sys.executable} -I -S app.py {{port}}")
    (shop.home / "tools" / "python").unlink()
    assert f"there is no program '{shop.home}/tools/python' to run" in refused(shop, "rollback")
    (shop.home / "tools" / "python").symlink_to("/bin/sh")
    assert "tools/python is /usr/bin/dash now, and was " in refused(shop, "rollback").replace("/bin/bash", "/bin/dash")


def test_a_record_that_is_gone_is_not_replaced_by_a_guess(r1_is_stopped: Shop) -> None:
    for record in (r1_is_stopped.home / ".local_context" / "releases").glob("*.json"):
        record.unlink()
    done = r1_is_stopped.deploy("rollback")
    assert (done.code, "of what was started is gone" in done.err) == (1, True)
    assert r1_is_stopped.serving() == ("r2", "r2")


# --- one directory for all --------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", *who, *words], cwd=folder, env=environ, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def in_place(shop: Shop) -> Shop:
    """All releases are put into the same directory."""
    (shop.home / "app").mkdir()
    shop.configure(dir_=str(shop.home / "app"), command=f"{sys.executable} -I -S {{port}}")
    # The code is a module that the command does not name as a file.
    shop.configure(dir_=str(shop.home / "app"), command=f"sh -c 'exec {sys.executable} -I -S app.py {{port}}'")
    shop.code(shop.home / "app", "r1")
    shop.must("start", "blue", "--release=r1")
    return shop


def test_what_another_release_was_put_over_is_refused_and_said_at_the_deploy(in_place: Shop) -> None:
    in_place.code(in_place.home / "app", "r2")
    said = in_place.must("deploy", "--release=r2", "--stop-old")
    assert "once blue is stopped, it cannot be started again as what it was" in said
    assert "app holds what was put there last, for release r2" in refused(in_place, "rollback")


def test_a_running_standby_in_a_shared_directory_is_a_way_back(in_place: Shop) -> None:
    in_place.code(in_place.home / "app", "r2")
    in_place.must("deploy", "--release=r2")
    in_place.must("rollback")
    assert in_place.serving() == ("r1", "r1")


def test_a_git_revision_that_moved_is_noticed_and_one_that_did_not_is_enough(in_place: Shop) -> None:
    folder = in_place.home / "app"
    in_place.must("stop", "blue", "--force")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    first = git(folder, "rev-parse", "HEAD")
    in_place.must("start", "blue", "--release=r1")
    assert f"Release: r1 (revision {first[:12]})" in in_place.deploy("status").out
    in_place.must("deploy", "--release=r1b", "--stop-old")
    in_place.must("rollback")  # the same revision is the same code
    in_place.must("stop", "green")
    in_place.code(folder, "r2")
    git(folder, "commit", "-qam", "two")
    second = git(folder, "rev-parse", "HEAD")
    in_place.must("deploy", "--release=r2", "--stop-old")
    said = refused(in_place, "rollback")
    assert f"is at revision {second[:12]}, and was at {first[:12]}" in said
    git(folder, "checkout", "-q", first)
    in_place.must("rollback")
    assert in_place.serving() == ("r1", "r1")


def test_a_start_of_what_has_no_name_takes_the_code_that_is_there_and_says_so(in_place: Shop) -> None:
    folder = in_place.home / "app"
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    in_place.must("start", "green", f"--dir={folder}")
    in_place.must("stop", "green")
    git(folder, "commit", "-qm", "two", "--allow-empty")
    said = in_place.must("start", "green")
    assert "green has no name for its release, and starts with what is there now" in said
    assert f"revision {git(folder, 'rev-parse', 'HEAD')[:12]}" in in_place.deploy("status").out


# --- what is kept, and what is shown ----------------------------------------------------------------------


def test_the_directory_in_use_is_shown_and_the_environment_is_not(shop: Shop) -> None:
    shop.release("r1")
    shop.configure(app='env = {TOKEN = "hunter-in-settings"}')
    (shop.current / "REVISION").write_text("4f2a9c1d00e8b7\n")
    shop.must("start", "blue", "--release=r1", DATABASE_URL="postgres://hunter-in-shell")
    text, known = shop.deploy("status").out, shop.status()
    assert f"   Directory: {shop.home}/releases/r1\n" in text
    assert "   Release: r1 (revision 4f2a9c1d00e8)\n" in text
    blue = known["versions"]["blue"]  # type: ignore[index]  # JSON
    assert (blue["directory"], blue["revision"]) == (f"{shop.home}/releases/r1", "4f2a9c1d00e8b7")
    assert len(blue["environment_digest"]) == 12
    folder = shop.home / ".local_context"
    (record,) = (folder / "releases").glob("*.json")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert "hunter-in-shell" in record.read_text()
    shown = text + json.dumps(known) + shop.must("history", "--json")
    shown += "".join(
        path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file() and path != record
    )
    assert "hunter" not in shown


def test_a_version_that_an_older_program_started_goes_on(shop: Shop) -> None:
    shop.release("r1")
    shop.must("start", "blue", "--release=r1", f"--dir={shop.home}/releases/r1")
    state = shop.home / ".local_context" / "bg_state.json"
    known = json.loads(state.read_text())
    for key in ("record", "directory", "revision"):
        del known["versions"]["blue"][key]
    state.write_text(json.dumps(known))
    shop.release("r2")
    shop.must("restart", "blue")
    assert shop.serving() == ("r1", "r1")
