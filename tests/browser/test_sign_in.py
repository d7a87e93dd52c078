"""The way into the live page with a token, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import missing
from tests.browser.page import Page
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, running_router

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)


@pytest.fixture(scope="module")
def guarded(blue: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """A router that lets in whoever has the token."""
    folder = tmp_path_factory.mktemp("guarded")
    with running_router(folder, blue.port, admin_allow="10.255.255.255/32", admin_token="open sesame") as router:
        yield router


def sign_in(page: Page) -> None:
    """As people do it."""
    page.ask("document.querySelector('#token').value = 'open sesame'; document.querySelector('main button').click()")
    page.wait_for("h1", "Blue serves all traffic.")
    page.wait_until_live()


def test_sign_in_with_the_token(page: Page, guarded: RouterProcess, screenshots: Path) -> None:
    page.open(guarded.port)
    assert page.text("label") == "Token"
    page.picture(screenshots / "sign-in.png")
    assert len(page.complaints()) == 1  # the console notes every answer that is a 401
    sign_in(page)
    assert page.ask("return document.cookie") == ""
    page.browser.get("about:blank")


def test_page_whose_sign_in_has_ended_says_where_to_sign_in_again(
    page: Page, guarded: RouterProcess, screenshots: Path
) -> None:
    page.open(guarded.port)
    sign_in(page)
    page.command("Network.clearBrowserCookies")
    guarded.reload()  # which ends the stream that was let in
    page.wait_for("h1", "This page may not look any more: nothing new since ", 20)
    page.picture(screenshots / "signed-out.png")
    assert "The sign-in of this browser has ended" in page.text("#advice")
    assert page.browser.title == "⚠ Signed out · Traffic Router"
    assert page.text("#card-blue .role") == "Was active"
    assert page.ask("return document.querySelector('#advice a').pathname") == "/monitoring"
    page.ask("document.querySelector('#advice a').click()")
    page.wait_for("label", "Token")
    sign_in(page)
    page.browser.get("about:blank")
    page.complaints()
