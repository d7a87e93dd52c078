"""The generated page of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.configuration_reference import PAGE, main, page
from app.settings.engine import describe
from app.settings.loading import load
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.settings.toml_file import read_toml


def test_page_in_the_documentation_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make reference`"


def test_page_has_every_setting_with_its_default_and_range() -> None:
    text = page()

    for cls in (RouterConfig, AppConfig):
        for name, about in describe(cls).items():
            assert f"`{name}`" in text
            assert about.allowed in text
    assert "| `main_port`<br>`TRAFFIC_ROUTER_MAIN_PORT` | `5004` | a whole number from 1 to 65535 |" in text
    assert "`0` means one per core." in text


def test_example_in_the_page_is_a_usable_file(tmp_path: Path) -> None:
    example = tmp_path / "traffic_router.toml"
    example.write_text(page().partition("```toml\n")[2].partition("```")[0])

    loaded = load({}, {}, read_toml(example))

    assert loaded.config.max_body_bytes == 10 * 1024 * 1024
    assert loaded.app.env == {"DATABASE_URL": "postgresql:///shop"}


def test_page_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "docs" / "configuration.md"

    assert main(path) == 0
    assert path.read_text(encoding="utf-8") == page()
    assert str(path) in capsys.readouterr().out
