"""`releases` and `releases prune`: what is listed is so, and what anybody needs is never removed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.kill_points import calls_of, killed_at
from tests.deploy.shop import Done, Shop
from tests.support.forked import fork_child
from tests.support.mounts import mounted, needs_root, read_only

SETTINGS = 'dir = "releases/{release}"\ncurrent = "current"\nkeep = 1\n'


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.configure(release=SETTINGS)
    return shop


@pytest.fixture
def four(shop: Shop) -> Shop:
    """r1 to r4 were deployed one after the other; r4 is active, r3 the target of a rollback."""
    for name in ("r1", "r2", "r3", "r4"):
        shop.release(name, links=False)
        shop.must("deploy", f"--release={name}")
    return shop


def there(shop: Shop) -> set[str]:
    return set(os.listdir(shop.home / "releases"))


def listed(shop: Shop) -> dict[str, dict[str, object]]:
    """What `releases --json` says, by the release's name."""
    return {one["release"]: one for one in json.loads(shop.must("releases", "--json"))["releases"]}


def pruned(shop: Shop, *words: str) -> list[str]:
    """The names of the removed ones."""
    return [Path(it).name for it in json.loads(shop.must("releases", "prune", "--json", *words))["removed"]]


# --- the list ---------------------------------------------------------------------------------------------


def test_each_release_is_listed_with_what_is_known_about_it(four: Shop) -> None:
    four.release("r5", links=False)
    (four.home / "releases" / "r2" / "REVISION").write_text("4f2a9c1d00e8b7\n")
    shutil.rmtree(four.home / "releases" / "r1")
    known = listed(four)
    assert list(known) == ["r5", "r4", "r3", "r2", "r1"], "the newest first"
    roles = ("active", "standby", "rollback_target", "current")
    assert {name: [role for role in roles if one[role]] for name, one in known.items()} == {
        **{"r4": ["active", "current"], "r3": ["rollback_target"]},
        **dict.fromkeys(("r1", "r2", "r5"), []),
    }
    assert {name: one["history"] for name, one in known.items()} == {"r1": 1, "r2": 2, "r3": 3, "r4": 4, "r5": None}
    assert {name: one["present"] for name, one in known.items()} == {**dict.fromkeys(known, True), "r1": False}
    assert known["r5"]["started_at"] is None
    assert known["r4"]["directory"] == f"{four.home}/releases/r4"


def test_the_table_fits_a_terminal(four: Shop) -> None:
    shutil.rmtree(four.home / "releases" / "r1")
    lines = four.must("releases").splitlines()
    assert lines[0].split() == ["RELEASE", "#", "STARTED", "SIZE", "REVISION", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == ["r4", "r3", "r2", "r1"]
    assert lines[1].endswith("active, current")
    assert lines[2].endswith("rollback target")
    assert lines[4].endswith("missing")
    assert max(map(len, lines)) <= 80


def test_releases_without_a_directory_of_their_own_are_listed_by_the_directory_they_ran_in(shop: Shop) -> None:
    shop.configure(dir_=str(shop.home / "releases" / "r1"))
    shop.release("r1", links=False)
    for name in ("one", "two"):
        shop.must("deploy", f"--release={name}")
    assert [one["directory"] for one in listed(shop).values()] == [f"{shop.home}/releases/r1"] * 2
    assert f"    {shop.home}/releases/r1" in shop.must("releases")
    assert shop.deploy("releases", "prune").code == 2


def test_nothing_is_listed_before_the_first_start(shop: Shop) -> None:
    assert shop.must("releases") == "No release was started from here yet.\n"
    assert pruned(shop) == []


def test_files_that_other_releases_share_do_not_count_for_the_size(four: Shop) -> None:
    big = four.home / "releases" / "r1" / "big"
    big.write_bytes(os.urandom(1 << 20))
    os.link(big, big.with_name("twice"))
    assert int(str(listed(four)["r1"]["size_bytes"])) >= 1 << 20
    assert int(str(listed(four)["r1"]["size_bytes"])) < 2 << 20
    os.link(big, four.home / "releases" / "r2" / "big")
    known = listed(four)
    assert int(str(known["r1"]["size_bytes"])) < 1 << 20
    assert int(str(known["r2"]["size_bytes"])) < 1 << 20
    assert known["r1"]["size_is_whole"]


# --- what is kept -----------------------------------------------------------------------------------------


def test_what_runs_and_the_target_of_a_rollback_are_never_removed(four: Shop) -> None:
    assert pruned(four, "--dry-run") == ["r2", "r1"]
    assert there(four) == {"r1", "r2", "r3", "r4"}
    assert pruned(four) == ["r2", "r1"]
    assert there(four) == {"r3", "r4"}
    assert pruned(four) == []
    four.must("rollback")
    assert four.serving() == ("r3", "r3")
    assert pruned(four) == []


def test_a_stopped_target_of_a_rollback_is_kept(four: Shop) -> None:
    four.must("stop", "green" if four.status()["active_version"] == "blue" else "blue")
    assert pruned(four) == ["r2", "r1"]
    four.must("rollback")
    assert four.serving() == ("r3", "r3")


def test_old_releases_that_were_put_live_again_are_kept(four: Shop) -> None:
    four.must("rollback", "--to=1")
    assert four.serving() == ("r1", "r1")
    assert pruned(four) == ["r3", "r2"]
    assert four.serving() == ("r1", "r1")
    assert {"r1", "r4"} <= there(four)


def test_a_number_of_releases_is_kept_whatever_they_are(four: Shop) -> None:
    assert pruned(four, "--keep=3") == ["r1"]
    assert four.deploy("releases", "prune", "--keep=0").code == 2


def test_a_release_that_the_link_leads_to_is_kept(four: Shop) -> None:
    four.link("r1")
    said = four.must("releases", "prune", "--dry-run")
    assert f"releases/r1 kept: {four.current} leads to it" in said
    assert "r2 would be removed" in said


def test_a_release_whose_environment_another_one_uses_is_kept(shop: Shop) -> None:
    for name in ("r1", "r2", "r3", "r4"):
        (shop.release(name, links=False) / "python").symlink_to(sys.executable)
    command = f"{shop.home}/releases/r1/python -I -S app.py {{port}}"
    for name in ("r1", "r2", "r3", "r4"):
        shop.configure(release=SETTINGS, command=command)
        shop.must("deploy", f"--release={name}")
    assert pruned(shop) == ["r2"]


def test_a_release_in_which_some_process_works_is_kept(four: Shop) -> None:
    worker = subprocess.Popen(["sleep", "60"], cwd=four.home / "releases" / "r1")
    try:
        assert f"r1 kept: process {worker.pid} runs there" in four.must("releases", "prune")
        assert there(four) == {"r1", "r3", "r4"}
    finally:
        worker.kill()
        worker.wait()


def test_what_was_never_started_from_here_is_nobody_elses_to_remove(four: Shop) -> None:
    """It may be the next release on its way, or no release at all."""
    four.release("r5", links=False)
    (four.home / "releases" / "shared").mkdir()
    (four.home / "releases" / "notes.txt").write_text("mine")
    (four.home / "elsewhere").mkdir()
    (four.home / "elsewhere" / "data").write_text("mine")
    (four.home / "releases" / "linked").symlink_to(four.home / "elsewhere")
    assert pruned(four) == ["r2", "r1"]
    assert there(four) == {"r3", "r4", "r5", "shared", "notes.txt", "linked"}
    assert (four.home / "elsewhere" / "data").read_text() == "mine"


def test_links_are_not_followed_out_of_a_release(four: Shop) -> None:
    shared = four.home / "shared"
    shared.mkdir()
    (shared / "uploads").write_text("precious")
    for name in ("r1", "r2"):
        (four.home / "releases" / name / "shared").symlink_to(shared)
    shutil.move(four.home / "releases" / "r2", four.home / "moved")
    (four.home / "releases" / "r2").symlink_to(four.home / "moved")
    assert pruned(four) == ["r1"]
    assert (shared / "uploads").read_text() == "precious"
    assert (four.home / "moved" / "app.py").exists()


def test_releases_of_another_pattern_are_left_alone(four: Shop) -> None:
    four.configure(release='dir = "releases/web-{release}"\nkeep = 1')
    assert pruned(four) == []
    assert there(four) == {"r1", "r2", "r3", "r4"}


@needs_root
def test_what_is_mounted_in_a_release_keeps_it(four: Shop) -> None:
    (four.home / "releases" / "r1" / "with space").mkdir()
    with mounted(four.home / "releases" / "r1" / "with space", "size=1m") as folder:
        (folder / "data").write_text("mine")
        assert "r1 kept: something is mounted in it" in four.must("releases", "prune")
        assert (folder / "data").exists()


def test_a_pruned_release_is_named_by_the_rollback_that_would_need_it(four: Shop) -> None:
    pruned(four)
    done = four.deploy("rollback", "--to=1")
    assert done.code == 1
    assert f"release r1 cannot be started again: its directory {four.home}/releases/r1 is gone" in done.err
    assert four.serving() == ("r4", "r4")


# --- what goes wrong --------------------------------------------------------------------------------------


@needs_root
def test_what_cannot_be_removed_is_named_and_the_others_are_removed(four: Shop) -> None:
    with read_only(four.home / "releases", four.home / "view"):
        four.configure(release='dir = "view/{release}"\nkeep = 1')
        four.release("r5", links=False)
        four.must("deploy", "--release=r5")
        four.release("r6", links=False)
        four.must("deploy", "--release=r6", "--stop-old")
        for name in ("r7", "r8"):
            four.release(name, links=False)
            four.must("deploy", f"--release={name}")
        done = four.deploy("releases", "prune")
        assert done.code == 1
        assert f"❌ {four.home}/view/r6 cannot be removed: Read-only file system" in done.err
        assert f"❌ {four.home}/view/r5 cannot be removed: Read-only file system" in done.err
    assert {"r5", "r6"} <= there(four)


@needs_root
def test_files_that_belong_to_somebody_else_are_named(tmp_path: Path) -> None:
    """As a cache that the application writes under a user of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shop = Shop(Path(folder) / "home")
        shop.configure(release='dir = "releases/{release}"\nkeep = 1')
        try:
            for name in ("r1", "r2", "r3", "r4"):
                shop.release(name, links=False)
                shop.must("deploy", f"--release={name}")
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
            cache = shop.home / "releases" / "r1" / "cache"
            cache.mkdir(mode=0o755)
            (cache / "page").write_text("of root")
            code, said = as_nobody(lambda: shop.deploy("releases", "prune"), Path(folder) / "said")
            assert code == 1
            assert re.search(
                r"❌ \S*/releases/\.bg-pruned-\w+-r1/cache/page cannot be removed: Permission denied\n", said
            )
            assert len(said.splitlines()) == 1, "and not the folders around it"
            left = [name for name in there(shop) if name.startswith(".bg-pruned-")]
            assert there(shop) == {"r3", "r4", *left}
            assert len(left) == 1
            shop.must("releases", "prune")
            assert there(shop) == {"r3", "r4"}
        finally:
            shop.close()


NOBODY = 65_534


def as_nobody(command: Callable[[], Done], said: Path) -> tuple[int, str]:
    """The exit code of a command that an ordinary user gives, and what it said of faults."""
    said.touch(mode=0o666)
    os.chown(said, NOBODY, NOBODY)

    def work() -> None:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        done = command()
        said.write_text(f"{done.code} {done.err}")

    assert os.waitpid(fork_child(work), 0)[1] == 0
    code, _, text = said.read_text().partition(" ")
    return int(code), text


def test_a_prune_killed_between_any_two_calls_leaves_no_half_release(four: Shop) -> None:
    """What is under the name of a release is whole; the next prune removes what was left of the others."""
    for name in ("r1", "r2"):
        (four.home / "releases" / name / "lib").mkdir()
        (four.home / "releases" / name / "lib" / "module.py").write_text("code")
    kept = four.home / "kept"
    shutil.copytree(four.home / "releases", kept)

    def prune() -> None:
        assert four.deploy("releases", "prune").code == 0

    calls, seen = calls_of(prune), set()
    for at in range(1, calls + 1):
        for name in ("r1", "r2"):
            shutil.rmtree(four.home / "releases" / name, ignore_errors=True)
            shutil.copytree(kept / name, four.home / "releases" / name)
        assert killed_at(prune, at, after=False), f"call {at} of {calls}"
        for name in {"r1", "r2"} & there(four):
            assert (four.home / "releases" / name / "lib" / "module.py").exists()
            assert (four.home / "releases" / name / "app.py").exists()
        seen.add(len({"r1", "r2"} & there(four)))
        four.must("releases", "prune")
        assert there(four) == {"r3", "r4"}
    assert seen == {0, 1, 2}


def test_a_deploy_prunes_if_asked(four: Shop) -> None:
    four.release("r5", links=False)
    four.configure(release=f"{SETTINGS}prune = true")
    said = four.must("deploy", "--release=r5")
    assert f"{four.home}/releases/r1 removed" in said
    assert there(four) == {"r4", "r5"}
    four.configure(release=f"{SETTINGS}prune = true", deploy='smoke = ["false"]')
    four.release("r6", links=False)
    assert four.deploy("deploy", "--release=r6").code == 3
    assert there(four) == {"r4", "r5", "r6"}, "only after one that did well"
