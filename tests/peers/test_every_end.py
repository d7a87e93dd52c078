"""Every end of a command in every phase; some of them are in `tests/cli/test_ends_of_a_command.py`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import home, site  # noqa: F401  # fixtures
from tests.cli.endings import ENDINGS, STAGES, Scene, check_end


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("phase", STAGES)
def test_what_was_begun_is_put_in_order(site: Path, phase: str, ending: str) -> None:  # noqa: F811
    with ExitStack() as scope:
        check_end(Scene(site, scope), phase, ending)
