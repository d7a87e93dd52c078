"""A command that loses its terminal, its reader or its room, or is told to end, in whichever phase: what it began is
put in order, the history says what happened, and a rollback leads to a release that was approved.

`tests/peers/test_every_end.py` tries every end in every phase.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.endings import Scene, check_end


@pytest.mark.parametrize(
    ("phase", "ending"),
    [
        *((phase, "terminal closed") for phase in ("gating", "post_switch", "watching", "draining")),
        *(("watching", ending) for ending in ("ssh gone", "full disk under the log")),
    ],
)
def test_what_was_begun_is_put_in_order(site: Path, phase: str, ending: str) -> None:
    with ExitStack() as scope:
        check_end(Scene(site, scope), phase, ending)
