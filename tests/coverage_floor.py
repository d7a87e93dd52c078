"""Tells whether each branch of the rules (L0) was tried by the tests that have run: `python -m tests.coverage_floor`.

It reads what `make floor` has recorded, shows the lines that were left out, and fails when there are any.
"""

from __future__ import annotations

import os
import sys

from tests.test_layering import MODULES, PURE_LEVELS, ROOT, level


def rules() -> list[str]:
    """The files of L0, from the project's root."""
    pure = (name for name in MODULES if (found := level(name)) is not None and found < PURE_LEVELS)
    return sorted(str(MODULES[name].relative_to(ROOT)) for name in pure)


if __name__ == "__main__":
    report = ("-m", "coverage", "report", "--fail-under=100", f"--include={','.join(rules())}")
    os.execv(sys.executable, (sys.executable, *report))
