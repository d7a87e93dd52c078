"""The environment that tests start processes in."""

from __future__ import annotations

import os

__all__ = ["own_environment"]

_WISHES = ("TRAFFIC_ROUTER_LANE", "TRAFFIC_ROUTER_PURE")
"""What whoever runs the tests may ask of all routers: see docs/contributing.md."""


def own_environment() -> dict[str, str]:
    """This process's, without the settings of a router that its user may have."""
    return {
        name: value for name, value in os.environ.items() if name in _WISHES or not name.startswith("TRAFFIC_ROUTER_")
    }
