"""A release directory whose state files are links to what its releases share: they are followed, and stay links."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.metrics.shared import SharedMetrics
from app.settings.tables.router_settings import RouterConfig
from app.settings.toml_file import load_settings
from tests.cli.test_blue_green_deploy import Captured, deploy, state

FILES = ("history.jsonl", "blue.process", "green.process", "bg_state.json.lock")


@pytest.fixture
def shared(site: Path) -> Path:
    """Where the files are; nothing links there yet."""
    folder = site / "shared"
    folder.mkdir()
    return folder


def link_state(site: Path, shared: Path) -> None:
    path = site / ".local_context" / "bg_state.json"
    path.rename(shared / path.name)
    path.symlink_to(shared / path.name)


def use(site: Path) -> None:
    """Two releases, there and back."""
    assert deploy("start", "blue", "--release=r1") == 0
    assert deploy("deploy", "--release=r2") == 0
    assert deploy("rollback") == 0
    assert state(site)["active_version"] == "blue"
    assert deploy("stop", "green") == 0


def test_a_state_file_that_is_a_link_is_followed(site: Path, shared: Path) -> None:
    link_state(site, shared)
    use(site)
    assert (site / ".local_context" / "bg_state.json").is_symlink()
    assert set(FILES) <= {path.name for path in shared.iterdir()}
    assert [path.name for path in (site / ".local_context").iterdir()] == ["bg_state.json"]
    assert load_settings().config.pid_path == str(shared / "router.pid")


def test_a_folder_that_is_a_link_is_followed(site: Path) -> None:
    folder = (site / ".local_context").rename(site / "shared")
    (site / ".local_context").symlink_to(folder)
    use(site)
    assert (site / ".local_context").is_symlink()
    assert set(FILES) <= {path.name for path in folder.iterdir()}
    # A router that was started here goes on when only the shared folder is left.
    assert load_settings().config.state_file == str(folder / "bg_state.json")


def test_every_other_file_may_be_a_link(site: Path, shared: Path) -> None:
    for name in FILES:
        (site / ".local_context" / name).symlink_to(shared / name)
    use(site)
    assert all((site / ".local_context" / name).is_symlink() for name in FILES)
    assert set(FILES) == {path.name for path in shared.iterdir()}


def test_metrics_may_be_a_link(shared: Path) -> None:
    link = shared / "link.mmap"
    link.symlink_to(shared / "real.mmap")
    SharedMetrics.create_or_attach(link, 4).close()
    assert link.is_symlink()
    assert (shared / "real.mmap").stat().st_size > 0


def test_a_link_that_leads_nowhere_is_refused(site: Path, shared: Path, capsys: Captured) -> None:
    link_state(site, shared)
    target = (shared / "bg_state.json").rename(shared / "elsewhere")
    for words in (["start", "blue"], ["status"], ["rollback"]):
        assert deploy(*words) == 2
        assert f"is a link to {shared / 'bg_state.json'}, which is not there" in capsys.readouterr().err
    target.rename(shared / "bg_state.json")
    use(site)


def test_a_folder_link_that_leads_nowhere_is_refused(site: Path, capsys: Captured) -> None:
    folder = (site / ".local_context").rename(site / "shared")
    (site / ".local_context").symlink_to(site / "nowhere")
    assert deploy("start", "blue") == 1
    assert f"is a link to {site / 'nowhere'}, which is not there" in capsys.readouterr().err
    (site / ".local_context").unlink()
    folder.rename(site / ".local_context")


def test_a_plain_state_file_stays_as_it_was_written(site: Path) -> None:
    assert load_settings().config.state_file == RouterConfig().state_file
