"""The records of what was started: whole, private, and not more than are of use."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.operator_errors import StateError
from app.state.release import Release
from app.state.releases import Releases


def release(id_: str) -> Release:
    return Release(
        id=id_,
        name="r1",
        made_at=1.5,
        made_by="alice",
        is_deploy=False,
        is_demo=False,
        origin=id_,
        given_dir="current",
        given_command="serve {port}",
        directory="/srv/r1",
        inode=7,
        revision=None,
        command=("serve", "{port}"),
        program="/srv/r1/serve",
        stop_signal="TERM",
        place=("/srv/r1",),
        files={},
        inherited={"TOKEN": "hunter\udc80"},  # not every environment is text
        env={},
    )


def test_a_record_is_read_as_it_was_written_and_tells_no_secret_by_itself(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    releases.keep(release("1-a"), [])
    assert releases.read("1-a") == release("1-a")
    assert "hunter" not in repr(releases.read("1-a"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"id": "1-a"}'])
def test_a_record_that_makes_no_sense_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1-a.json").write_bytes(content)
    with pytest.raises(StateError, match=r"the record .*/1-a\.json is not usable"):
        Releases(tmp_path).read("1-a")
    assert Releases(tmp_path).all() == []


@pytest.mark.parametrize("id_", ["", "x", "1/../../etc/passwd"])
def test_an_id_is_no_path(tmp_path: Path, id_: str) -> None:
    with pytest.raises(StateError, match="is no record"):
        Releases(tmp_path).read(id_)


def test_numbers_grow_and_old_records_go_but_not_those_in_use(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    for number in range(1, 61):
        assert releases.next_id().partition("-")[0] == str(number)
        releases.keep(release(f"{number}-a"), ["3-a", None])
    assert [one.number for one in releases.all()] == [3, *range(11, 61)]
