"""What is in a wheel, and what it can be made of."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.installed import Installed, build_wheel, copy_source
from tests.support.router_process import ROOT

pytestmark = pytest.mark.timeout(300)

NEEDED = [
    *("__init__.py", "gunicorn.conf.py", "traffic_router.example.toml", "utils/monitoring.py"),
    *("app/dashboard/static/live.js", "app/dashboard/static/style.css", "app/demo/templates/page.html"),
    *("app/dashboard/templates/page.html", "app/dashboard/templates/icon.svg"),
    *("docs/monitoring/alerts.yml", "docs/monitoring/prometheus.yml", "docs/monitoring/grafana-dashboard.json"),
    *("docs/how-to/systemd/traffic-router.service", "docs/how-to/systemd/traffic-router.socket"),
]

COMPILES = """
import sys
from pathlib import Path

made = Path(__file__).parent / "build" / (sys.implementation.cache_tag + "-of-these-sources")
made.mkdir(parents=True)
(made / "a.so").touch()
(made / "manifest.json").touch()
Path(".cache").mkdir()
Path(".cache", "kept.so").touch()
"""
"""Stands in for the compiler of modules."""


def content(archive: Path) -> dict[str, int]:
    """The checksum of each file."""
    with zipfile.ZipFile(archive) as wheel:
        return {entry.filename: entry.CRC for entry in wheel.infolist()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    return copy_source(tmp_path / "source")


def test_wheel_has_the_tree_in_one_package_and_nothing_else(installed: Installed) -> None:
    paths = [path for name in ("app", "utils", "docs") for path in (ROOT / name).rglob("*") if path.is_file()]
    tree = {str(path.relative_to(ROOT)) for path in paths if path.suffix != ".pyc" and path.name != "generate.py"}
    tree = {name for name in tree if not name.startswith("app/compiled/build/")}

    names = {name for name in content(installed.wheel) if ".dist-info/" not in name}

    assert names == {f"traffic_router/{name}" for name in (*tree, *NEEDED)}


def test_sdist_makes_the_same_wheel(installed: Installed, source: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")

    made = build_wheel(archive, tmp_path / "wheels", TRAFFIC_ROUTER_PURE="1")

    assert content(made) == content(installed.wheel)
    with tarfile.open(archive) as files:
        assert [name for name in files.getnames() if "/tests" in name] == []


@pytest.mark.parametrize(
    ("build", "environ", "is_compiled"),
    [
        pytest.param(COMPILES, {}, True, id="compiled"),
        pytest.param("raise SystemExit('cannot')", {}, False, id="cannot be compiled"),
        pytest.param(COMPILES, {"TRAFFIC_ROUTER_PURE": "1"}, False, id="not wanted"),
        pytest.param(COMPILES, {"PATH": "/nowhere"}, False, id="no compiler"),
    ],
)
def test_wheel_is_for_its_platform_only_with_something_compiled_in_it(
    source: Path, tmp_path: Path, build: str, environ: dict[str, str], is_compiled: bool
) -> None:
    room = source / "app" / "compiled"
    for folder in (room / "build" / "cpython-999-of-another", room):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stale.so").touch()
    (room / "__init__.py").touch()
    (room / "build.py").write_text(build)

    wheel = build_wheel(source, tmp_path / "wheels", **environ)

    made = {name for name in content(wheel) if name.endswith((".so", "manifest.json", ".pyc"))}
    tag = sys.implementation.cache_tag
    place = f"traffic_router/app/compiled/build/{tag}-of-these-sources"
    assert made == ({f"{place}/a.so", f"{place}/manifest.json"} if is_compiled else set())
    python = f"cp3{sys.version_info[1]}"
    assert (f"-{python}-{python}-linux_" if is_compiled else "-py3-none-any") in wheel.name
