"""Releases with a directory each: `[release] dir`, and the names that a directory can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.shop import Shop


@pytest.fixture
def shop(shop: Shop, tmp_path: Path) -> Shop:
    shop.configure(release=f'dir = "{tmp_path}/releases/{{release}}"')
    return shop


def test_a_deploy_looks_for_the_release_in_its_directory(shop: Shop) -> None:
    for name in ("r1", "r2"):
        shop.release(name, links=False)
        shop.must("deploy", f"--release={name}")
        assert shop.serving() == (name, name)
    shop.must("rollback")
    assert shop.serving() == ("r1", "r1")


def test_a_directory_by_option_wins(shop: Shop) -> None:
    shop.release("r1", links=False)
    elsewhere = shop.home / "elsewhere"
    elsewhere.mkdir()
    shop.code(elsewhere, "by option")
    shop.must("deploy", "--release=r1", f"--dir={elsewhere}")
    assert shop.serving() == ("r1", "by option")


def test_the_command_runs_in_a_part_of_the_release(shop: Shop) -> None:
    shop.configure(app='dir = "backend"', release='dir = "releases/{release}"')
    backend = shop.release("r1", links=False) / "backend"
    backend.mkdir()
    shop.code(backend, "r1")
    shop.must("deploy", "--release=r1")
    assert shop.told("blue")["CWD"] == str(backend)


def test_a_release_that_is_not_there_is_not_deployed(shop: Shop) -> None:
    done = shop.deploy("deploy", "--release=r9")
    assert done.code == 2
    assert f"{shop.home}/releases/r9 is not a directory" in done.err


def test_a_deploy_without_a_name_is_refused(shop: Shop) -> None:
    done = shop.deploy("deploy")
    assert done.code == 2
    assert "--release=NAME" in done.err


BAD_NAMES = ["", ".", "..", "../r1", "a/b", "/etc", "-r1", ".hidden", "r\n1", "r\x1b[2J", "r\udc80", "x" * 201]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_cannot_be_a_directory_of_its_own_is_refused(shop: Shop, name: str) -> None:
    shop.release("r1", links=False)
    for words in (["deploy"], ["start", "blue"], ["deploy", "--dir=releases/{release}"]):
        done = shop.deploy(*words, f"--release={name}")
        assert done.code == 2, done
        assert "--release=NAME" in done.err
    assert not (shop.home / ".local_context" / "history.jsonl").exists()


@pytest.mark.parametrize("name", ["1.2.3", "2026-11-27T10:00", "v1 final", "größe", "r..1", "a-b_c+d"])
def test_ordinary_names_are_directories(shop: Shop, name: str) -> None:
    shop.release(name, links=False)
    shop.must("deploy", f"--release={name}")
    assert shop.serving() == (name, name)
