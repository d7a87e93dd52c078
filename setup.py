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
from importlib.util import find_spec
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


MADE = Path("app", "compiled", "build")


def compile_in(tree: Path) -> bool:
    """Compile the modules of the tree; says whether that was done. A router runs as plain Python as well."""
    if not wants_compiled():
        return False
    # A minute is saved where the checkout has been compiled; what is of other sources, the compiler takes away again.
    for folder in (ROOT / MADE).glob(f"{sys.implementation.cache_tag}-*"):
        shutil.copytree(folder, tree / MADE / folder.name)
    # -B, and no caches: what else this leaves would be in the wheel.
    done = subprocess.run([sys.executable, "-B", "-m", "app.compiled.build"], cwd=tree)
    for cache in tree.glob(".*"):
        shutil.rmtree(cache)
    if done.returncode:
        shutil.rmtree(tree / MADE, ignore_errors=True)
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
    """What compiles, fetched only where it is of use and can be had; from the group in pyproject.toml."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        groups = tomllib.load(file)["dependency-groups"]
    wanted: list[str] = groups.get("compile", [])
    return wanted if wanted and wants_compiled() and can_be_fetched(wanted) else []


def can_be_fetched(wanted: list[str]) -> bool:
    """Whether pip finds these packages; if not, says so. What a build requires and nobody has would end it.

    Only pip is asked, as it is configured: what has no pip, as uv, finds out by itself.
    """
    if "egg_info" not in sys.argv or find_spec("mypyc") is not None:  # it is not the moment to fetch, or all is here
        return True
    # Without what pip hides itself with from a build.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], env=environ, capture_output=True).returncode:
        return True
    words = ["install", "--dry-run", "--quiet", "--ignore-installed", "--disable-pip-version-check", "--retries=1"]
    done = subprocess.run([*pip, *words, *wanted], env=environ, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(f"Not compiled, for pip cannot fetch {' and '.join(wanted)}:\n{done.stderr}\n")
    return not done.returncode


setup(
    packages=["traffic_router"],
    package_dir={"traffic_router": "package"},
    cmdclass={"build_py": BuildTree, "bdist_wheel": PlatformWheel, "editable_wheel": NoEditable},
    setup_requires=build_requirements(),
)
