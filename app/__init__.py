"""Traffic Router: a reverse proxy for zero-downtime blue-green deploys.

`app:wsgi` is the WSGI application. It is built when a worker first asks for it, not when this package is
imported: requests and ssl must not be imported before gevent has patched the standard library.
"""

from __future__ import annotations

from typing import Any

__version__ = "1.0.0"


def __getattr__(name: str) -> Any:
    """Builds `wsgi` on first use (PEP 562)."""
    if name != "wsgi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import os

    from app.web import create_app_from_environment

    globals()["wsgi"] = create_app_from_environment(os.environ)
    return globals()["wsgi"]
