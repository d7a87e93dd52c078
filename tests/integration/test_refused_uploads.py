"""Uploads that the bundled demo refuses unread, among other requests: none of those is lost."""

from __future__ import annotations

from pathlib import Path

from tests.support.app_process import running_app
from tests.support.router_process import running_router
from tests.support.uploaders import upload_crowd

POSTS = 600


def test_uploads_that_the_demo_refuses_cost_no_other_request(tmp_path: Path) -> None:
    """gunicorn's threads answer 200 KB at once, announce to keep the connection, and close it."""
    with running_app("demo", tmp_path) as port, running_router(tmp_path / "router", port, workers=2) as router:
        outcomes = upload_crowd(router.port, POSTS, (b"/",), got=b"/")
    assert set(outcomes) == {"POST / 405", "GET / 200"}, outcomes
    assert outcomes["POST / 405"] == POSTS
