"""The ways to lay releases out that take other people's programs, or long: name and code are one after each command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.layouts import Environments, Images, Job, Layout, Procfile, tell
from tests.peers.peers import PEERS_BIN


class Honcho(Procfile):
    honcho = PEERS_BIN / "honcho"


@pytest.mark.parametrize("layout", [Environments, Honcho, Images, Job], ids=lambda kind: kind.__name__)
def test_name_and_code_are_one(layout: type[Layout], tmp_path: Path) -> None:
    with layout(tmp_path) as arranged:
        tell(arranged)
