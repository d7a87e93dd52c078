"""Names that routes and answers have in common."""

from __future__ import annotations

__all__ = ["ASSETS", "PREFIX"]

PREFIX = "/__router_dashboard"
"""Everything of the dashboard but the page itself; in the router's own part of the paths."""

ASSETS = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "script.js": "text/javascript",
    "clock.js": "text/javascript",
}
"""Media type by file name."""
