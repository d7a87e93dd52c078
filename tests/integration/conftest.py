"""Shared routers: one real gunicorn and one raw upstream per set of settings, for the whole run.

A module that needs other settings than the defaults says so in `ROUTER_SETTINGS`; one with routers of its own gives
its pair as `running`. Each test starts with the upstream's records empty and its connections closed; afterwards the
upstream must have seen no broken message. Routers that a test starts by itself have `blue` behind them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess

NEEDED_TOOLS = {"test_real_curl.py": "curl", "test_real_node.py": "node"}
"""Peers that are no Python package; without the tool its module is left out."""

collect_ignore = [module for module, tool in NEEDED_TOOLS.items() if shutil.which(tool) is None]


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterFarm]:
    """Where the routers of this run are kept."""
    routers = RouterFarm(tmp_path_factory.mktemp("routers"))
    yield routers
    routers.stop()


@pytest.fixture
def running(request: pytest.FixtureRequest, farm: RouterFarm) -> Pair:
    """The module's router and its upstream; the only one of these that a module or class may define anew."""
    return farm.get(**getattr(request.module, "ROUTER_SETTINGS", {}))


@pytest.fixture
def pair(running: Pair) -> Iterator[Pair]:
    """The module's router and its upstream, fresh for one test."""
    upstream = running[1]
    yield running
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


@pytest.fixture
def blue() -> Iterator[RawUpstream]:
    """A version of the test's own, which answers with its name."""
    with RawUpstream() as version:
        version.answers(reply(b"blue"))
        yield version
        assert version.faults == []


@pytest.fixture
def backends() -> Iterator[list[RawUpstream]]:
    """Three, each of which answers with its number."""
    with ExitStack() as stack:
        found = [stack.enter_context(RawUpstream()) for _ in range(3)]
        for number, backend in enumerate(found):
            backend.answers(reply(b"%d" % number))
        yield found
