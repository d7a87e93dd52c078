"""The project as a package: its source, wheels made of it, and an environment with nothing but one of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from app.compiled import place
from tests.support.router_process import ROOT

__all__ = ["STALE", "Installed", "build_isolated_wheel", "build_wheel", "copy_source", "install_once"]

STALE = "of-other-sources"

_NO_SOURCE = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "findings")


def copy_source(folder: Path) -> Path:
    """A copy of the project as a clone has it; a build leaves files where it is done."""
    return Path(shutil.copytree(ROOT, folder, ignore=_NO_SOURCE))


def build_wheel(source: Path, folder: Path, **environ: str) -> Path:
    """The wheel of a source, a folder or an archive of one, made with what is installed here."""
    return _build(source, folder, ["--no-build-isolation"], environ)


def build_isolated_wheel(source: Path, folder: Path, **environ: str) -> Path:
    """As `build_wheel`, with what pip fetches for it."""
    return _build(source, folder, [], environ)


def _build(source: Path, folder: Path, options: list[str], environ: Mapping[str, str]) -> Path:
    words = ["wheel", "--quiet", "--no-deps", *options, f"--wheel-dir={folder}", str(source)]
    _must([sys.executable, "-m", "pip", *words], {**os.environ, **environ})
    (wheel,) = folder.glob("*.whl")
    return wheel


class Installed:
    """An environment in which the package is installed, and nothing else but what it needs."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "env" / "bin"
        self._wheels = folder / "wheels"

    @property
    def wheel(self) -> Path:
        """What was installed."""
        (wheel,) = self._wheels.glob("*.whl")
        return wheel

    @property
    def root(self) -> Path:
        """The tree of the project, as it is there."""
        (root,) = self.bin.parent.glob("lib/python3*/site-packages/traffic_router")
        return root

    def run(self, program: str, *words: str, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command as it is typed in a folder by somebody who has it on `PATH`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAFFIC_ROUTER_")}
        path = f"{self.bin}{os.pathsep}{kept['PATH']}"
        return subprocess.run(
            [program, *words],
            cwd=home,
            env={**kept, "PATH": path, **environ},
            capture_output=True,
            text=True,
            timeout=90,
        )

    def must(self, program: str, *words: str, home: Path) -> str:
        """Run a command that has to do well; gives what it printed."""
        done = self.run(program, *words, home=home)
        assert done.returncode == 0, (program, words, done.stdout, done.stderr)
        return done.stdout


def install_once(base: Path, is_compiled: bool = False) -> Installed:
    """Build and install below a folder, unless another of pytest-xdist's processes has done so.

    What is compiled of these sources already is taken; else it takes a minute.
    """
    name = "compiled" if is_compiled else "package"
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a try that failed
            source = copy_source(folder / "source")
            if is_compiled:
                _take_compiled_along(source)
            wheel = build_wheel(source, folder / "wheels", TRAFFIC_ROUTER_PURE="" if is_compiled else "1")
            venv.create(folder / "env")
            _must([sys.executable, "-m", "pip", f"--python={folder / 'env'}", "install", "--quiet", str(wheel)])
            done.touch()
    return Installed(folder)


def _take_compiled_along(source: Path) -> None:
    """What the checkout has compiled of its present sources, and something of others beside it."""
    room = Path("app", "compiled", "build")
    if place().is_dir():
        shutil.copytree(place(), source / room / place().name)
    stale = source / room / f"{sys.implementation.cache_tag}-{STALE}"
    stale.mkdir(parents=True)
    (stale / "app.server.lane.so").touch()


def _must(command: list[str], environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
