"""The documented import path of `TrafficRouter` and `RouterConfig`; the code lives in `app`."""

from app.routing.router import TrafficRouter
from app.settings.tables.router_settings import RouterConfig

__all__ = ["RouterConfig", "TrafficRouter"]
