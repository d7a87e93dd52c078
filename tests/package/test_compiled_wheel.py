"""A wheel that is compiled for real: what is in it, what runs where it is installed, and what is without its tools."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from app import __version__
from app.compiled import GROUP, MODULES, place
from tests.package.home import Home
from tests.support.installed import STALE, Installed, build_isolated_wheel, copy_source, install_once
from tests.support.router_process import ROOT

pytestmark = pytest.mark.timeout(900)

FORM = "/__router_metrics?format=prometheus"


def why_not() -> str:
    """What is missing here to compile a wheel; "" when nothing is."""
    if find_spec("mypyc") is None:
        return "mypy is not installed"
    looked = subprocess.run(
        [sys.executable, "-m", "app.compiled.build", "--can"], cwd=ROOT, capture_output=True, text=True
    )
    return looked.stderr.strip()


@pytest.fixture(scope="session")
def can_compile() -> None:
    """Leaves a test out where nothing can be compiled."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def compiled(can_compile: None, package_base: Path) -> Installed:
    """The project as a compiled package in an empty environment; one for all of pytest-xdist's processes."""
    return install_once(package_base, is_compiled=True)


@pytest.fixture
def home(compiled: Installed, tmp_path: Path) -> Iterator[Home]:
    found = Home(compiled, tmp_path / "the shop")
    yield found
    found.end()


def test_wheel_has_every_module_compiled_of_these_sources_and_no_other(compiled: Installed) -> None:
    with zipfile.ZipFile(compiled.wheel) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".so") or STALE in name]

    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    room = f"traffic_router/app/compiled/build/{place().name}"
    assert sorted(names) == sorted(f"{room}/{name}{suffix}" for name in (*MODULES, f"{GROUP}__mypyc"))


def test_wheel_is_for_this_python_on_this_kind_of_machine(compiled: Installed) -> None:
    python = f"cp3{sys.version_info[1]}"
    assert f"-{python}-{python}-linux_" in compiled.wheel.name


def test_workers_of_the_package_run_compiled(home: Home) -> None:
    assert home.must("traffic_router", "--version") == f"traffic_router {__version__}, compiled\n"
    home.must("blue_green_deploy", "start", "blue")
    home.must("traffic_router", "start", "--daemon")
    assert 'form="compiled"' in home.ask(FORM)
    for _ in range(3):  # the first opens the connection to the version, the others stay in the lane
        assert home.ask().startswith("blue ")


def test_workers_of_the_package_run_the_sources_where_that_is_wanted(home: Home) -> None:
    home.must("blue_green_deploy", "start", "blue")
    started = home.installed.run("traffic_router", "start", "--daemon", home=home.folder, TRAFFIC_ROUTER_PURE="1")
    assert started.returncode == 0, started.stderr
    assert 'form="pure"' in home.ask(FORM)
    assert home.ask().startswith("blue ")


def test_wheel_is_plain_python_where_the_compilers_packages_cannot_be_had(can_compile: None, tmp_path: Path) -> None:
    """With a C compiler, and an index that has nothing but what every build needs."""
    index = tmp_path / "index"
    download = ["download", "--quiet", "--no-deps", f"--dest={index}", "setuptools"]
    subprocess.run([sys.executable, "-m", "pip", *download], check=True, capture_output=True)

    wheel = build_isolated_wheel(
        copy_source(tmp_path / "source"),
        tmp_path / "wheels",
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(index),
        TRAFFIC_ROUTER_PURE="",
    )

    assert "-py3-none-any" in wheel.name
