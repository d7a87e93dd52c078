"""Where this program lies: in a checkout, or in the package that was made of one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from app.settings.loading import HOME_VARIABLE

__all__ = ["ROOT", "commands", "home", "is_package", "script"]

ROOT = Path(__file__).resolve().parents[1]
"""The folder with `app/` and `gunicorn.conf.py`: a checkout's root, or `traffic_router/` among installed packages."""


def is_package() -> bool:
    """Whether it was installed; a checkout's root is no package."""
    return (ROOT / "__init__.py").is_file()


def home(environ: Mapping[str, str]) -> Path:
    """Where settings and state are: `$TRAFFIC_ROUTER_HOME`, else the checkout, or where one is with a package."""
    return Path(os.path.abspath(environ.get(HOME_VARIABLE) or (_here() if is_package() else ROOT)))


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # a router goes on in a directory that was removed
        return os.environ.get("PWD", "/")


def commands() -> Path:
    """The folder with our two commands."""
    return Path(script("traffic_router")).parent if is_package() else ROOT / "bin"


def script(name: str) -> str:
    """A command that was installed with a package, as a path; beside Python where it is found nowhere."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    if os.path.exists(beside):
        return beside
    import sysconfig  # takes its time, and a virtual environment has them all in one folder

    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    found = (os.path.join(sysconfig.get_path("scripts", scheme), name) for scheme in schemes)
    return next(filter(os.path.exists, found), beside)
