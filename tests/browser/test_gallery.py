"""Every state of the page, in both themes and on a phone: nothing is cut, sticks out or is hard to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.web import create_app
from tests.browser.conftest import missing
from tests.browser.gallery import STATES, hung
from tests.browser.page import Page
from tests.support.router_process import write_state

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of all pictures."""
    folder = tmp_path_factory.mktemp("gallery")
    write_state(folder / "state.json", "blue", blue=5905)
    app = create_app(Loaded.just(RouterConfig(state_file=f"{folder}/state.json", metrics_file=f"{folder}/metrics")))
    try:
        with hung(app) as port:
            yield port
    finally:
        app.service.slot.close()
        app.service.metrics.close()


CUT = """
const cut = [];
for (const element of document.querySelectorAll("body *:not(svg *, .table-box *)")) {
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  if (!element.checkVisibility() || element.closest(".unseen, svg, .skip")) continue;
  if (box.right > innerWidth + 1) cut.push(`sticks out: ${element.id || element.className || element.outerHTML}`);
  if (style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1 && element.innerText)
    cut.push(`cut: ${element.id || element.className}: ${element.innerText}`);
}
return cut;
"""


@pytest.mark.parametrize(
    ("width", "height", "dark"), [pytest.param(1280, 900, False, id="light"), pytest.param(390, 1400, True, id="phone")]
)
def test_every_state_can_be_read(
    page: Page, gallery: int, axe: str, screenshots: Path, width: int, height: int, dark: bool
) -> None:
    page.look(width, height, dark=dark)
    faults = {}
    for name in STATES:
        page.open(gallery, f"/{name}")
        faults[name] = [*page.ask(CUT), *page.hard_to_read(axe, ".now", ".versions", "#commands")]
        page.picture(screenshots / f"state-{name}-{width}.png")
    assert {name: found for name, found in faults.items() if found} == {}
