"""What `test` finds out of logins: whether who is not logged in is refused."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.router_client import RouterClient
from app.settings.tables.login_settings import LoginConfig

__all__ = ["login_tests"]

_REFUSALS = (302, 303, 307, 401, 403)
"""The first three of an auth service, or of `sign_in`: to where one logs in."""


def login_tests(logins: tuple[LoginConfig, ...], client: RouterClient) -> Iterator[tuple[str, bool, str]]:
    """Of each login that closes paths: its name, whether it does, and what was seen. Raises OperatorError."""
    for login in logins:
        if login.opens:
            continue
        path = login.path[0].removesuffix("*") if login.path else "/"
        if login.observes:
            yield login.name, True, f"nobody is refused at {path} (mode = observe)"
            continue
        status = client.get(path).status
        if status in _REFUSALS:
            yield login.name, True, f"{path} is refused without a login ({status})"
        else:
            why = "whether a login is good cannot be told; the log says why" if status == 503 else "it is not refused"
            yield login.name, False, f"{path} answered {status} without a login: {why}"
