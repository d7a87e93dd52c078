"""The documented import path of `TrafficRouter` and `RouterConfig`; the code lives in `app`."""

from app.config import RouterConfig
from app.routing.router import TrafficRouter

__all__ = ["RouterConfig", "TrafficRouter"]
