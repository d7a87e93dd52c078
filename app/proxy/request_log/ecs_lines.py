"""Lines in the Elastic Common Schema, as far as it has fields for what we know; the rest is under our own name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.errors import FAILURES
from app.proxy.request_log.json_lines import Layout, Part, quoted
from app.proxy.request_log.logged_request import LoggedRequest
from app.redaction import Redaction

__all__ = ["ECS_VERSION", "ecs_layout", "ecs_parts"]

ECS_VERSION: Final = "8.11.0"

_LAYOUT: Final[Layout] = {
    "@timestamp": "time",
    "log": {"level": '"info"'},
    "message": "message",
    "ecs": {"version": f'"{ECS_VERSION}"'},
    "event": {
        "kind": '"event"',
        "category": '["web"]',
        "type": '["access"]',
        "dataset": '"traffic_router.access"',
        "outcome": "outcome",
        "duration": "duration_ns",
    },
    "client": {"address": "client"},
    "http": {
        "version": "http_version",
        "request": {
            "id": "request_id",
            "method": "method",
            "referrer": "referer",
            "body": {"bytes": "bytes_in"},
        },
        "response": {"status_code": "status", "body": {"bytes": "bytes_out"}},
    },
    "url": {"original": "path", "path": "url_path", "query": "url_query", "domain": "url_domain"},
    "user_agent": {"original": "user_agent"},
}

_OURS: Final = (
    *("version", "release", "backend", "cause", "preview", "duration_ms", "upstream_ms", "held_ms", "queued_ms"),
    *("retries", "limit", "login"),
)
"""What the schema has no field for; it asks that such go into an object named for who writes them."""


def ecs_layout(name: str, headers: Mapping[str, str]) -> Layout:
    """What each line has; `name` is the deployment's, "" for none, `headers` are further members of ours."""
    service: Layout = {"service": {"name": quoted(name).replace("%", "%%")}} if name else {}
    return {**_LAYOUT, **service, "traffic_router": {**{own: own for own in _OURS}, **headers}}


def ecs_parts(redaction: Redaction, longest: int) -> Mapping[str, Part]:
    """The texts that no other lines have."""

    def target_of(done: LoggedRequest) -> tuple[str, str, str]:
        target = redaction.address(done.transaction.request.head.target.decode("latin-1"))
        return target[:longest].partition("?")

    def message(done: LoggedRequest) -> str:
        head = done.transaction.request.head
        return quoted(f"{head.method.decode('latin-1')} {target_of(done)[0]} {done.status}")

    def query(done: LoggedRequest) -> str:
        _, mark, found = target_of(done)
        return quoted(found) if mark else "null"

    return {
        "message": message,
        "outcome": _outcome,
        "duration_ns": lambda done: str((done.now_us - done.transaction.request.started_us) * 1000),
        "http_version": lambda done: '"1.0"' if done.transaction.request.head.http10 else '"1.1"',
        "url_path": lambda done: quoted(target_of(done)[0]),
        "url_query": query,
        "url_domain": _domain,
    }


def _outcome(done: LoggedRequest) -> str:
    return '"failure"' if done.status >= 500 or done.cause in FAILURES else '"success"'


def _domain(done: LoggedRequest) -> str:
    host = done.transaction.request.head.host.decode("latin-1")
    name, colon, port = host.rpartition(":")
    return quoted(name if colon and port.isdigit() else host)
