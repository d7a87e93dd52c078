"""The page in a headless Chromium, left open over an incident: what it says, and pictures of it to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.page import Page, open_browser
from tests.support.waiting import wait_until

__all__ = ["Camera", "camera"]

WIDTHS = (1280, 390)
HEIGHT = 900
STILL = "return document.getAnimations().every((one) => one.playState !== 'running')"


class Camera:
    """One tab; `folder` gets the pictures."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder

    def open(self, port: int) -> None:
        """Open the page while all is well."""
        self._page.look()
        self._page.open(port)
        self._page.wait_until_live()

    def said(self) -> str:
        """What the page says at a glance: the tab, the headline, the advice, and whether it is live."""
        parts = [str(self._page.ask("return document.title"))]
        parts += [self._page.text(selector) for selector in ("#sentence", "#advice", "#link", "#gap")]
        return " | ".join(part.replace("\n", " ") for part in parts if part)

    def take(self, name: str) -> None:
        """Pictures in both themes, on a screen and on a phone."""
        for width in WIDTHS:
            for is_dark in (False, True):
                self._page.look(width, HEIGHT, dark=is_dark)
                wait_until(lambda: self._page.ask(STILL), "the end of a transition")
                theme = "dark" if is_dark else "light"
                self._page.picture(self._folder / f"{re.sub('[^a-z0-9]+', '-', name)}-{width}-{theme}.png")


@contextmanager
def camera(folder: Path) -> Iterator[Camera]:
    """A browser for the length of a `with` block."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as profile, open_browser(Path(profile)) as browser:
        yield Camera(Page(browser), folder)
