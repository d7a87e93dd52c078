"""The page in a browser, in the words of the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.support.waiting import wait_until

__all__ = ["Page", "open_browser"]

ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own, whose console is recorded; it ends with the block."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium is not None
    assert driver is not None
    options = webdriver.ChromeOptions()
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """One tab; every text has ordinary spaces."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def command(self, name: str, **arguments: object) -> Any:
        """A command of the DevTools protocol, whose answers have no types."""
        return self.browser.execute_cdp_cmd(name, arguments)

    def look(self, width: int = 1280, height: int = 800, *, dark: bool = False, scripts: bool = True) -> None:
        """Sets the window, the system's theme, and whether scripts run."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, port: int, path: str = "/monitoring") -> None:
        """Loads a page of the router."""
        self.browser.get(f"http://127.0.0.1:{port}{path}")

    def ask(self, script: str, *arguments: object) -> Any:
        """The value of a JavaScript function body, which has no type."""
        return self.browser.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """The visible text of the first element that matches; "" when none does."""
        script = "const found = document.querySelector(arguments[0]); return found ? found.innerText : ''"
        return str(self.ask(script, selector)).replace("\u00a0", " ")

    def colour(self, selector: str, name: str = "background-color") -> str:
        """A colour as it is computed."""
        script = "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])"
        return str(self.ask(script, selector, name))

    def wait_for(self, selector: str, part: str, deadline_s: float = 20.0) -> None:
        """Waits until an element's text has this part."""
        wait_until(lambda: part in self.text(selector), f"{part!r} in {selector}: {self.text(selector)!r}", deadline_s)

    def wait_until_live(self) -> None:
        """Waits for the first event."""
        self.wait_for("#link", "Live")

    def press(self, key: str) -> None:
        """One key, as the keyboard sends it."""
        for kind in ("rawKeyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def focused(self) -> str:
        """The element that has the focus: its id, else its class, else its text."""
        return str(self.ask("const e = document.activeElement; return e.id || e.className || e.textContent"))

    def hard_to_read(self, axe: str, *selectors: str) -> list[str]:
        """The texts within these elements whose contrast is less than WCAG AA wants."""
        self.ask(axe)
        found: list[str] = self.browser.execute_async_script(CONTRAST, selectors)
        return found

    def complaints(self) -> list[str]:
        """What the console has said since the last call: errors, and violations of the security policy."""
        found = self.browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium gives this one no types
        return [json.dumps(entry) for entry in found]

    def picture(self, path: Path) -> None:
        """Saves what is to be seen."""
        self.browser.save_screenshot(str(path))


CONTRAST = """
const [include, done] = arguments;
const told = (found) => found.violations.flatMap((one) => one.nodes.map((node) => node.html));
axe.run({ include }, { runOnly: ["color-contrast"] })
  .then((found) => done(told(found)), (error) => done([String(error)]));
"""

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
