"""Links lead somewhere, names are complete, and nothing is told that readers cannot use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.cli import blue_green_deploy, traffic_router
from app.dashboard.paths import PREFIX
from app.errors import CAUSES
from app.settings.engine import describe
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.web import HEALTH_PATH, METRICS_PATH
from tests.docs.pages import ROOT, anchors, links, name_of, pages

REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
INDEX = ROOT / "docs" / "README.md"

NOT_FOR_READERS = re.compile(
    r"/work/|/root/|/tmp/|/home/|\bTODO\b|\bFIXME\b|\bissue #?\d|\bpull request #\d|\bsession of work\b", re.IGNORECASE
)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{name_of(page)} links to {link}"
        assert found.is_relative_to(ROOT), f"{name_of(page)} links out of the project: {link}"
        if anchor:
            assert anchor in anchors(found), f"{name_of(page)}: no heading {anchor} in {name_of(found)}"


def test_every_page_is_in_the_index() -> None:
    listed = {(INDEX.parent / link.partition("#")[0]).resolve() for link in links(INDEX)}

    assert [name_of(page) for page in pages() if page not in listed | {INDEX}] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_page_begins_with_its_title_and_keeps_to_the_reader(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert text.startswith("# ")
    assert not NOT_FOR_READERS.search(text), NOT_FOR_READERS.search(text)


@pytest.mark.parametrize("name", [*describe(RouterConfig), *describe(AppConfig)])
def test_setting_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize(
    "option",
    sorted(set(re.findall(r"--[a-z-]+", f"{traffic_router.__doc__}{blue_green_deploy.__doc__}"))),
)
def test_option_is_in_the_reference(option: str) -> None:
    assert option in REFERENCE


@pytest.mark.parametrize("path", [HEALTH_PATH, METRICS_PATH, PREFIX, "/monitoring"])
def test_endpoint_is_in_the_reference(path: str) -> None:
    assert path in REFERENCE


@pytest.mark.parametrize("cause", CAUSES[1:])
def test_cause_code_is_in_the_reference(cause: str) -> None:
    assert f"`{cause}`" in REFERENCE
