"""What a redirect as the answer to a health check says: it counts as healthy, and may be all that anybody gets."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

__all__ = ["advice", "target_path"]

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


def target_path(path: str, location: str) -> str:
    """The path and query that a redirect leads to on the same server."""
    target = urlsplit(urljoin(f"http://x{path}", location))
    return (target.path or "/") + (f"?{target.query}" if target.query else "")
