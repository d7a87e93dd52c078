"""No request fails because a server before it answered an upload without reading it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.peers.peers import serving
from tests.peers.refusing import SERVERS
from tests.support.router_process import running_router
from tests.support.uploaders import upload_crowd

TARGETS = (b"/405", b"/401", b"/413", b"/200", b"/302")

POSTS = 1_200


@pytest.mark.parametrize("name", SERVERS)
def test_refused_uploads_cost_no_other_request(name: str, tmp_path: Path) -> None:
    if shutil.which(SERVERS[name].split()[0]) is None:
        pytest.skip(f"{name} is not installed")
    with (
        serving(SERVERS[name], tmp_path, "/200") as port,
        running_router(tmp_path / "router", port, workers=2) as router,
    ):
        outcomes = upload_crowd(router.port, POSTS, TARGETS)
        assert all(outcome.split()[1] == f"/{outcome.split()[2]}" for outcome in outcomes), outcomes
        assert sum(count for outcome, count in outcomes.items() if outcome.startswith("POST")) == POSTS
