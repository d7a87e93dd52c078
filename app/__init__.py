"""Traffic Router: a reverse proxy for zero-downtime blue-green deploys.

`app:wsgi` is the WSGI application. It is built when a worker first asks for it, not when this package is
imported: requests and ssl must not be imported before gevent has patched the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.metrics.shared import SharedMetrics
    from app.settings.loading import Loaded

__version__ = "1.0.0"

loaded_settings: Loaded | None = None
"""The settings that gunicorn's master has read and its workers inherit; None in any other process. So a worker
that is replaced gets the settings of its siblings, whatever has become of the files since."""

shared_metrics: SharedMetrics | None = None
"""Where the workers of that master count, made by it before it forks them; None in any other process. So they
share it even where it cannot be in a file."""


def __getattr__(name: str) -> Any:
    """Builds `wsgi` on first use (PEP 562)."""
    if name != "wsgi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import os

    from app.command_line import typed_from
    from app.web import create_app, create_app_from_environment
    from app.whence import whence_of_router

    typed_from(whence_of_router(os.environ))
    if loaded_settings is None:
        globals()["wsgi"] = create_app_from_environment(os.environ)
    else:
        globals()["wsgi"] = create_app(loaded_settings, shared_metrics)
    return globals()["wsgi"]
