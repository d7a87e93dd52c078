"""One router and one raw upstream per set of settings, started on first use and shared by the tests that follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, running_router, start_router

Pair = tuple[RouterProcess, RawUpstream]

KEPT = 4
"""More than a test has at a time. Tests of one module follow each other, and an idle router still takes some time."""


class RouterFarm:
    """Keeps the routers last used running between tests; a router that has died is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._running: dict[str, Pair] = {}  # the one used last at the end
        self._leaving: list[Pair] = []
        self._states: dict[Path, bytes] = {}  # of each, as it was in the beginning

    def get(self, **settings: object) -> Pair:
        """The running pair for these RouterConfig fields, the upstream active and its records empty."""
        key = repr(sorted(settings.items()))
        pair = self._running.pop(key, None)
        if pair is None or pair[0].process.poll() is not None:
            pair = self._start(settings)
        self._running[key] = pair
        if len(self._running) > KEPT:
            self._let_go(next(iter(self._running)))
        pair[1].reset()
        if pair[0].state_file.read_bytes() != self._states[pair[0].state_file]:  # a test has left it like that
            pair[0].set_state("blue", blue=pair[1].port)
        return pair

    def _start(self, settings: dict[str, object]) -> Pair:
        upstream = RawUpstream().__enter__()
        self._started += 1
        router = start_router(self._folder / str(self._started), upstream.port, settings)
        self._states[router.state_file] = router.state_file.read_bytes()
        return router, upstream

    def _let_go(self, key: str) -> None:
        pair = self._running.pop(key)
        pair[0].process.terminate()
        self._leaving.append(pair)

    def stop(self) -> None:
        """Stop every router, all at the same time, and its upstream."""
        for key in list(self._running):
            self._let_go(key)
        for router, upstream in self._leaving:
            router.stop()
            upstream.__exit__(None, None, None)


@contextlib.contextmanager
def running_pair(folder: Path, **options: Any) -> Iterator[Pair]:
    """A router and an upstream that nobody shares, for the length of a `with` block; options of `running_router`."""
    with RawUpstream() as upstream, running_router(folder, upstream.port, **options) as router:
        yield router, upstream
