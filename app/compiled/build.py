"""`python -m app.compiled.build [--can]`: compiles the modules of a request's way with mypyc and a C compiler.

Exits with 0 when the compiled form of the present sources is there, else with 1 and says why. With `--can` it only
looks: 0 when there is something to compile, and a compiler.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from app.compiled import GROUP, MODULES, place, wants_sources
from app.installation import ROOT
from app.settings.loading import PURE_VARIABLE

__all__ = ["build", "main"]


class CannotBuild(Exception):
    """What is missing, in words."""


def build() -> Path:
    """Compiles what is not compiled yet; returns the folder. Raises `CannotBuild`, OSError."""
    final = place()
    if not final.is_dir():
        _compile(final)
    _remove_others(final)
    return final


def _compile(final: Path) -> None:
    _check_compiler()
    missing = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    if missing:
        raise CannotBuild(f"{' and '.join(missing)} cannot be imported")
    final.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".") as made:
        # In a process of its own: mypy and setuptools change what they run in.
        done = subprocess.run(
            [sys.executable, "-c", _COMPILE, made, GROUP, *MODULES],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CannotBuild(f"the compiler says\n{(done.stdout + done.stderr).strip()[-4000:]}")
        _take_over(Path(made), final)


_COMPILE = """
import sys
from setuptools import Distribution
from mypyc.build import mypycify

made, group, *names = sys.argv[1:]
flags = ["--no-incremental", "--ignore-missing-imports", "--follow-imports=silent", "--disable-error-code=misc"]
flags += ["--config-file=", "--no-warn-unused-ignores"]
paths = [name.replace(".", "/") + ".py" for name in names]
extensions = mypycify([*flags, *paths], opt_level="3", debug_level="0", group_name=group, target_dir=made + "/c")
distribution = Distribution({"name": group, "ext_modules": extensions})
options = {"build_lib": made + "/lib", "build_temp": made + "/temp"}
distribution.command_options["build_ext"] = {name: (group, value) for name, value in options.items()}
distribution.run_command("build_ext")
"""
"""Without the settings of pyproject.toml, which are for who develops, and not for whatever setuptools is here."""


def _check_compiler() -> None:
    if wants_sources(os.environ):
        raise CannotBuild(f"{PURE_VARIABLE} is set")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        raise CannotBuild(f"there is no C compiler ({compiler})")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise CannotBuild("Python's headers are not installed (python3-dev)")


def _take_over(made: Path, final: Path) -> None:
    """Gives the files flat names and puts them into place at once: no process may see half of them."""
    flat = made / "flat"
    flat.mkdir()
    library = made / "lib"
    for path in library.rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
        path.rename(flat / ".".join(path.relative_to(library).parts))
    with contextlib.suppress(FileExistsError):  # somebody else was faster
        flat.rename(final)


def _remove_others(final: Path) -> None:
    """What this Python's other sources were compiled to; who runs it has it in memory."""
    for folder in final.parent.glob(f"{sys.implementation.cache_tag}-*"):
        if folder != final:
            shutil.rmtree(folder, ignore_errors=True)


def main(argv: Sequence[str]) -> int:
    """Builds, or only looks; returns the exit code."""
    try:
        if "--can" in argv:
            _check_compiler()
            return int(place().is_dir())
        print(f"Compiled: {build().relative_to(ROOT)}")
        return 0
    except (CannotBuild, OSError) as error:
        print(f"Not compiled, so the router runs as plain Python: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
