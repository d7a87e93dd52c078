"""Two ways to lay releases out, a directory for each and one for all: name and code are one after each command.

The others are in tests/peers.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.layouts import GitPull, Layout, Releases, tell


@pytest.mark.parametrize("layout", [Releases, GitPull], ids=lambda kind: kind.__name__)
def test_name_and_code_are_one(layout: type[Layout], tmp_path: Path) -> None:
    with layout(tmp_path) as arranged:
        tell(arranged)
