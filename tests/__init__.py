"""The project's tests: they mirror `app/`, plus `integration/` (real processes), `support/` and `corpus/`."""

from __future__ import annotations

import os

from app.compiled import take

COMPILED_VARIABLE = "TESTED_COMPILED"
"""Set: the tests' own process imports what was compiled as well; else it runs the sources, and only routers do not."""

if COMPILED_VARIABLE in os.environ:
    assert take({}), "nothing is compiled of these sources: make compile"
