"""How a checkout becomes a package: its tree, as it is, inside of one package `traffic_router`.

What else there is to say of it is in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
TREE = ("app", "utils", "docs", "gunicorn.conf.py", "traffic_router.example.toml")
"""What an installed router needs, and who runs one. Without `bin/`, whose launchers look for a checkout's `.venv`."""

NOT_TAKEN = shutil.ignore_patterns("__pycache__", "*.py[co]", "*.so", "generate.py", f"{sys.implementation.name}-*")
"""What a checkout has made for its own use, compiled for whatever Python."""


def wants_compiled() -> bool:
    """Whether there is a compiler, and nobody wants the sources."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    is_wanted = os.environ.get("TRAFFIC_ROUTER_PURE", "") in ("", "0")
    return is_wanted and shutil.which(compiler) is not None


def compile_in(tree: Path) -> bool:
    """Compile the modules of the tree; says whether that was done. A router runs as plain Python as well."""
    if not wants_compiled():
        return False
    # -B, and no caches: what else this leaves would be in the wheel.
    done = subprocess.run([sys.executable, "-B", "-m", "app.compiled.build"], cwd=tree)
    for cache in tree.glob(".*"):
        shutil.rmtree(cache)
    return done.returncode == 0


class BuildTree(build_py):
    """Puts the tree into the package."""

    is_compiled = False

    def run(self) -> None:
        """Afresh each time: what an earlier build has left must not get into a wheel."""
        tree = Path(self.build_lib, "traffic_router")
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        for name in TREE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=NOT_TAKEN)
            else:
                shutil.copy2(ROOT / name, tree)
        self.is_compiled = compile_in(tree)  # before it is a package: to a compiler `app` has to be the outermost one
        super().run()


class PlatformWheel(bdist_wheel):
    """Is for one Python on one kind of machine when something in it was compiled."""

    def run(self) -> None:
        """Build first, to see."""
        self.run_command("build_py")
        if self.get_finalized_command("build_py").is_compiled:
            self.root_is_pure = False
            self.distribution.has_ext_modules = lambda: True  # type: ignore[method-assign]  # decides where it is installed
        super().run()


class NoEditable(editable_wheel):
    """`pip install -e`, which would find the commands and no tree."""

    def run(self) -> None:
        """Say what to do instead."""
        raise SetupError("A checkout runs as it is, with `make setup` and the commands in bin/")


def build_requirements() -> list[str]:
    """What compiles, fetched only where it is of use; from the group in pyproject.toml."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        groups = tomllib.load(file)["dependency-groups"]
    return groups.get("compile", []) if wants_compiled() else []


setup(
    packages=["traffic_router"],
    package_dir={"traffic_router": "package"},
    cmdclass={"build_py": BuildTree, "bdist_wheel": PlatformWheel, "editable_wheel": NoEditable},
    setup_requires=build_requirements(),
)
