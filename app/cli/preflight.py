"""A dry run of what a worker does when it boots: `python -m app.cli.preflight gunicorn.conf.py`.

The master runs it before a reload. What cannot boot here would not boot as a worker either, and is found out
while the workers of now are untouched. The fault goes to standard error.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from gevent import monkey

from app.command_line import ROUTER_PROGRAM, typed_from
from app.operator_errors import ConfigError
from app.settings.toml_file import load_settings
from app.whence import whence_of_router

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Loads gunicorn's settings from the file named, then builds the application; returns the exit code."""
    try:
        os.getcwd()
    except FileNotFoundError:
        typed_from(whence_of_router(os.environ))
        print(f"the directory that the router runs in is gone; `{ROUTER_PROGRAM} upgrade` moves it", file=sys.stderr)
        return 1
    try:
        for path in argv:
            runpy.run_path(path)
        _build()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _build() -> None:
    loaded = load_settings()
    monkey.patch_all()
    # Imported here, after the patching, as in a worker.
    from app.server.serving import Serving
    from app.server.worker import RouterWorker
    from app.web import create_app

    with tempfile.TemporaryDirectory() as folder:
        # The figures of a process that serves nobody have no place among the workers'.
        loaded = loaded.with_router(metrics_file=str(Path(folder) / "metrics"))
        app = create_app(loaded)
        assert Serving.of(app) is not None and RouterWorker.run is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
