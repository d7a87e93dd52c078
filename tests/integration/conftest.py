"""Shared routers: one real gunicorn and one raw upstream per set of settings, for the whole run.

A module that needs other settings than the defaults says so in `ROUTER_SETTINGS`. Each test starts with the
upstream's records empty and its connections closed; afterwards the upstream must have seen no broken message.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, start_router

collect_ignore = [] if shutil.which("curl") else ["test_real_curl.py"]
collect_ignore += [] if shutil.which("node") else ["test_real_node.py"]

Pair = tuple[RouterProcess, RawUpstream]
Routers = Callable[..., Pair]


@pytest.fixture(scope="session")
def routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routers]:
    """A function from settings to the running (router, upstream) pair for them."""
    running: dict[str, Pair] = {}

    def get(**settings: object) -> Pair:
        key = repr(sorted(settings.items()))
        if key in running and running[key][0].process.poll() is None:
            return running[key]
        upstream = RawUpstream().__enter__()
        running[key] = (start_router(tmp_path_factory.mktemp("router"), upstream.port, **settings), upstream)
        return running[key]

    yield get
    for router, upstream in running.values():
        router.stop()
        upstream.__exit__(None, None, None)


@pytest.fixture
def pair(request: pytest.FixtureRequest, routers: Routers) -> Iterator[Pair]:
    """The module's router and its upstream, fresh for one test."""
    router, upstream = routers(**getattr(request.module, "ROUTER_SETTINGS", {}))
    upstream.reset()
    yield router, upstream
    faults = upstream.faults
    upstream.reset()
    assert faults == [], "the upstream saw messages that are not canonical HTTP/1.1"


@pytest.fixture
def router(pair: Pair) -> RouterProcess:
    """The module's running router."""
    return pair[0]


@pytest.fixture
def upstream(pair: Pair) -> RawUpstream:
    """The programmable upstream behind the module's router."""
    return pair[1]
