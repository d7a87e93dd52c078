"""What rooms have in common, and their turns: several tests at a time, since most wait for processes, a few alone.

With pytest-xdist several processes run tests. One that measures time or processor shares is marked `alone` and runs
while no other test does.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import responses
from hypothesis import settings

from tests import COMPILED_VARIABLE
from tests.support.installed import Installed, install_once
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT
from tests.support.turns import turn

WORKERS_PER_CPU = 2
WORKERS_MAX = 8

ROOM = Path(__file__)
DOOR = Path(__file__).with_name("__init__.py")


def pytest_configure(config: pytest.Config) -> None:
    """Prepares for a machine that others use, and for a shell's background."""
    config.addinivalue_line("markers", "alone: runs while no other test does, since it measures time")
    config.addinivalue_line(
        "markers", "sources: has doubles or looks for frames, which compiled modules take or have none"
    )
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    # A background job ignores Ctrl-C, and so would all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`: more than there are processors; 0, none, for one module, which ends sooner than they start."""
    modules = {name.partition("::")[0] for name in config.args}
    if len(modules) == 1 and modules.pop().endswith(".py"):
        return 0
    return min(WORKERS_PER_CPU * len(os.sched_getaffinity(0)), WORKERS_MAX)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests that run alone to the end, so that the others have to wait for them only once."""
    items.sort(key=_is_alone)
    if COMPILED_VARIABLE in os.environ:
        items[:] = [item for item in items if item.get_closest_marker("sources") is None]


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of pytest-timeout: waiting for others is not the test's fault
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Runs a test in its turn."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with turn(ROOM, DOOR, _is_alone(item)):
        return (yield)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    """A version whose answers are scripted; in the end it must have seen no broken message."""
    with RawUpstream() as running:
        yield running
        assert running.faults == []


@pytest.fixture
def double() -> Iterator[responses.RequestsMock]:
    """Stands in for every version: the adapter that our sessions mount is the one replaced."""
    with responses.RequestsMock(target="app.upstream.adapter.UpstreamAdapter.send") as standing_in:
        yield standing_in


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, to be changed."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "app", root / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bin", root / "bin")
    shutil.copy(ROOT / "gunicorn.conf.py", root)
    return root


@pytest.fixture(scope="session")
def package_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all of pytest-xdist's processes have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def installed(package_base: Path) -> Installed:
    """The project as a package in an empty environment; one for all of pytest-xdist's processes."""
    return install_once(package_base)
