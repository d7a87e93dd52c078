"""Traffic Router as a package: in a wheel this folder holds a checkout's tree as it is, and these are its commands.

`app` is too common a name for the folder where all packages of a Python meet, and a user's own project may have an
`app.py`. So the tree lies inside of one package, and only our own processes look for modules in it.
"""

from __future__ import annotations

import os
import sys

__all__ = ["blue_green_deploy", "traffic_router"]


def blue_green_deploy() -> int:
    """The command of that name; gives its exit code."""
    return _run("blue_green_deploy")


def traffic_router() -> int:
    """The command of that name; gives its exit code."""
    return _run("traffic_router")


def _run(program: str) -> int:
    """What `bin/` does in a checkout, but in the directory where the command was typed."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    os.environ["ROUTER_CALL"] = sys.argv[0]  # so that what is printed can be typed as this was
    sys.argv.insert(1, program)
    from app.cli.__main__ import main

    return main()
