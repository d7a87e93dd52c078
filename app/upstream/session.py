"""The `requests.Session` of one version's port, reduced to what a proxy may do."""

from __future__ import annotations

from typing import Any

import requests

from app.upstream.adapter import UpstreamAdapter
from app.upstream.fresh import Connections
from app.upstream.messages import UpstreamRequest, UpstreamResponse
from app.upstream.whole import adopt

__all__ = ["UpstreamSession"]


class UpstreamSession(requests.Session):
    """Hands each request to the adapter as it is.

    The stock `send()` would follow redirects, read bodies, and keep the cookies of one client for the next; it
    also looks for proxies and ~/.netrc in the environment. None of that is here, and neither is its cost.
    """

    def __init__(self, adapter: UpstreamAdapter) -> None:
        super().__init__()
        self.trust_env = False
        self.adapters.clear()
        self.mount("http://", adapter)
        self._adapter = adapter

    def send(  # type: ignore[override]  # our request and answer are children of what requests expects
        self, request: UpstreamRequest, **kwargs: Any
    ) -> UpstreamResponse:
        """Sends one request; the answer's body is still on the way. Raises what the adapter raises."""
        answer = self._adapter.send(request, **kwargs)
        return answer if type(answer) is UpstreamResponse else adopt(answer, request)

    @property
    def connections(self) -> Connections:
        """Where its connections come from."""
        return self._adapter.connections

    def keep_idle(self, keeps: bool) -> None:
        """Whether connections are kept for other requests; those that are idle are closed when not."""
        self._adapter.connections.keep_idle(keeps)

    def reach(self) -> None:
        """Finds out whether the version takes connections. Raises UpstreamError, PoolExhausted."""
        self._adapter.reach()
