"""The router's log for programs: what a line has, and that one about a request has the fields of the request."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from app.json_log import JsonFormatter
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import free_port, running_router
from tests.support.waiting import wait_until


def line(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "%s happened", "args": ("x",), "levelname": "WARNING", **extra})
    found: dict[str, object] = json.loads(JsonFormatter("shop").format(record))
    return found


def test_a_line_is_one_object() -> None:
    assert {**line(), "time": 0, "pid": 0, "logger": ""} == {
        **{"time": 0, "level": "warning", "name": "shop", "pid": 0, "logger": ""},
        "message": "x happened",
    }


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = line(exc_info=sys.exc_info())
    assert "two\nlines" in str(found["exception"])


def test_a_line_about_a_request_has_its_fields(tmp_path: Path) -> None:
    port = free_port()
    with RawUpstream() as blue:
        gone = blue.port
    with running_router(tmp_path, gone, workers=1, main_port=port, hold_timeout=0, log_format="json") as router:
        answer = router.ask(b"GET /cart?secret=1 HTTP/1.1\r\nHost: x.test\r\nX-Request-ID: id-77\r\n\r\n")
        assert answer.status == 502

        def about() -> dict[str, object] | None:
            lines = (json.loads(text) for text in router.log.splitlines() if text.startswith("{"))
            return next((it for it in lines if it.get("cause") == "connect_refused"), None)

        found = wait_until(about, "the line")
        assert found is not None
        assert {name: found[name] for name in ("client", "method", "path", "version", "release")} == {
            **{"client": "127.0.0.1", "method": "GET", "path": "/cart", "version": "blue", "release": None}
        }
        assert found["request_id"]
        assert "secret" not in router.log
