"""What an answer to a health check says that is no sign of health, and which setting mends that."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from app.address import Address
from app.settings.tables.app_settings import AppConfig

__all__ = ["advice", "meaning", "target_path"]

_LOGIN = re.compile(r"(?:^|[/_-])(?:log-?in|sign-?in|sso|oauth2?|auth|session|accounts)(?:[/_-]|$)", re.IGNORECASE)


def advice(path: str, host: str, location: str) -> str:
    """Why a redirect of the health check is no sign of health and what mends that; "" where nothing speaks against it.

    Args:
        path: what was asked.
        host: the `Host` that it was asked with.
        location: the answer's `Location`.
    """
    target = urlsplit(urljoin(f"http://{host}{path}", location))
    asked = urlsplit(path).path
    if target.path.rstrip("/") == asked.rstrip("/") and target.path != asked:
        return f'the application wants another slash: [app] health_path = "{target.path}"'
    if target.path == asked and target.scheme == "https":
        return (
            f"it sends http to https and was not asked about its health: exempt {asked} from that in the application; "
            "and if https ends in front of the router, forwarded_hops = 1 lets it know"
        )
    if target.path == asked and target.netloc != host:
        return f'it goes by another name: [app] health_host = "{target.netloc}"'
    if _LOGIN.search(target.path):
        return f"it asks to log in: [app] health_path = a path that needs no login, instead of {asked}"
    return ""


def meaning(app: AppConfig, address: Address, status: int, location: str = "") -> str:
    """Why a version is not taken for healthy though it answers; "" where it may be so by itself in a moment.

    Args:
        app: what is asked, and what is expected.
        address: who was asked.
        status, location: of the answer.
    """
    host = app.health_host or address.authority
    if 300 <= status < 400:
        accepts = f'or it counts as healthy: [app] health_statuses = "{app.health_statuses}, {status}"'
        return advice(app.health_path, host, location) or f"it redirects to {location or 'nowhere'}; {accepts}"
    meant = _MEANINGS.get(status, "")
    return meant.format(path=app.health_path, host=host, statuses=app.health_statuses, status=status)


_MEANINGS: Final = {
    400: "it does not take {host} for its name (Django: ALLOWED_HOSTS): [app] health_host = a name that it goes by",
    401: "{path} wants a login: [app] health_path = a path that needs none, "
    'or 401 counts as healthy: [app] health_statuses = "{statuses}, 401"',
    403: "it refuses {path} to the router: [app] health_path = a path that is open, "
    "or [app] health_host = a name that it goes by",
    404: "it has no {path}: [app] health_path = a path that it answers",
    405: "{path} cannot be asked with GET: [app] health_path = a path that can",
    421: "it does not go by the name {host}: [app] health_host = a name that it goes by",
}
"""By status: answers that an application goes on giving however long one waits."""


def target_path(path: str, location: str) -> str:
    """The path and query that a redirect leads to on the same server."""
    target = urlsplit(urljoin(f"http://x{path}", location))
    return (target.path or "/") + (f"?{target.query}" if target.query else "")
