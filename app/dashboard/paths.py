"""Names that routes and answers have in common."""

from __future__ import annotations

__all__ = ["ASSETS", "PREFIX"]

PREFIX = "/__router_dashboard"
"""Everything of the dashboard but the page itself; in the router's own part of the paths."""

ASSETS = {"style.css": "text/css", "script.js": "text/javascript"}
"""Media type by file name."""
