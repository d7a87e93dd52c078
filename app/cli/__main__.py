"""`python -m app.cli blue_green_deploy …`: one of the two commands by its name, as the launchers in `bin/` start it.

With traffic on a bad release a rollback counts in milliseconds, and most of them are Python's: so garbage is not looked
for while modules are imported, which make none, and what they have made is never looked at again, not even at the end.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module


def main() -> int:
    """Run the command that the first argument names with the others; gives its exit code."""
    gc.disable()
    from app.cli.entry import run

    program = import_module(f"app.cli.{sys.argv[1]}")
    gc.freeze()
    gc.enable()
    return run(program.main, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
