"""The dashboard in a real worker: streams that end with it, and a form that comes in pieces."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import running_router
from tests.support.waiting import wait_until

EVENTS = b"GET /__router_dashboard/events HTTP/1.1\r\nHost: x.test\r\n\r\n"
FORM = (
    b"POST /__router_dashboard/sign-in HTTP/1.1\r\nHost: x.test\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\n"
)


def asks(viewer: RawClient) -> int:
    """Asks for the events; gives the status."""
    viewer.send(EVENTS)
    return int(viewer.read_head().start_line.split(b" ")[1])


def test_stream_lets_its_worker_go(tmp_path: Path) -> None:
    with RawUpstream() as upstream, running_router(tmp_path, upstream.port) as router, router.connect() as viewer:
        viewer.send(EVENTS)
        viewer.read_head()
        (old,) = router.worker_pids
        router.reload()
        # graceful_timeout is 30
        wait_until(lambda: router.worker_pids and old not in router.worker_pids, "the old worker's end", 20)
        assert b"\r\n0\r\n\r\n" in viewer.take_waiting()
        assert "graceful timeout" not in router.log


def test_viewer_that_leaves_makes_room(tmp_path: Path) -> None:
    with RawUpstream() as upstream, running_router(tmp_path, upstream.port) as router:
        with ExitStack() as viewers:
            statuses = [asks(viewers.enter_context(router.connect())) for _ in range(33)]
        assert statuses == [200] * 32 + [503]

        def is_open() -> bool:
            with router.connect() as viewer:
                return asks(viewer) == 200

        wait_until(is_open, "room for another viewer", 10)


def test_form_may_come_after_its_head_and_in_pieces(tmp_path: Path) -> None:
    with (
        RawUpstream() as upstream,
        running_router(tmp_path, upstream.port, admin_allow="10.255.255.255/32", admin_token="open sesame") as router,
        router.connect() as client,
    ):
        client.send(FORM)
        for byte in b"token=open+sesame":
            client.send(bytes([byte]))
        answer = client.read_response()
        assert answer.status == 303
        assert b"traffic_router_admin=" in answer.head.raw
