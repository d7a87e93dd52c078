"""One router and one raw upstream per set of settings, started on first use and shared by all tests."""

from __future__ import annotations

from pathlib import Path

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, start_router

Pair = tuple[RouterProcess, RawUpstream]


class RouterFarm:
    """Keeps routers running between tests; a router that has died is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._running: dict[str, Pair] = {}

    def get(self, **settings: object) -> Pair:
        """The running pair for these RouterConfig fields, its upstream's records empty."""
        key = repr(sorted(settings.items()))
        if key not in self._running or self._running[key][0].process.poll() is not None:
            self._running[key] = self._start(settings)
        router, upstream = self._running[key]
        upstream.reset()
        return router, upstream

    def _start(self, settings: dict[str, object]) -> Pair:
        upstream = RawUpstream().__enter__()
        self._started += 1
        return start_router(self._folder / str(self._started), upstream.port, settings), upstream

    def stop(self) -> None:
        """Stop every router, all at the same time, and its upstream."""
        for router, _ in self._running.values():
            router.process.terminate()
        for router, upstream in self._running.values():
            router.stop()
            upstream.__exit__(None, None, None)
