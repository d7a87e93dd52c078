"""Lines of JSON: what json reads is what was said, and the usual line is what json.dumps would have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.log_fields import ALWAYS, EXTRA
from app.proxy.delays import Delays
from app.proxy.request_log.ecs_lines import ECS_VERSION, ecs_layout, ecs_parts
from app.proxy.request_log.json_lines import JsonLines, ms, plain_layout
from app.proxy.request_log.logged_request import LoggedRequest
from app.redaction import Redaction
from tests.proxy.request_log.done import done

ANY_LENGTH = 1 << 20

ECS_FIELDS = frozenset(
    (
        *("@timestamp", "message", "log.level", "ecs.version", "service.name"),
        *("event.kind", "event.category", "event.type", "event.dataset", "event.outcome", "event.duration"),
        *("client.address", "user_agent.original", "http.version"),
        *("http.request.id", "http.request.method", "http.request.referrer", "http.request.body.bytes"),
        *("http.response.status_code", "http.response.body.bytes"),
        *("url.original", "url.path", "url.query", "url.domain"),
    )
)
"""Of the published list of the fields (generated/csv/fields.csv of the schema, 8.11 and 9.5) those that we fill."""

NUMBERS = ("event.duration", "http.request.body.bytes", "http.response.status_code", "http.response.body.bytes")
"""Those of the type `long`."""


def as_before(logged: LoggedRequest, time: str) -> bytes:
    """The usual line as json.dumps makes it of a dict."""
    transaction, status, cause, bytes_in, now_us = logged
    request, head = transaction.request, transaction.request.head
    agent = next((value for name, value in head.fields if name.lower() == b"user-agent"), b"")
    upstream_us = transaction.head_us - transaction.sent_us if transaction.head_us else None
    line = {
        "time": time,
        "request_id": transaction.request_id.decode("latin-1"),
        "client": request.client_address,
        "method": head.method.decode("latin-1"),
        "path": head.target.decode("latin-1"),
        "protocol": "HTTP/1.0" if head.http10 else "HTTP/1.1",
        "version": transaction.target.name,
        "release": transaction.target.release or None,
        "status": status,
        "cause": cause,
        "bytes_in": bytes_in,
        "bytes_out": transaction.bytes_out,
        "duration_ms": round((now_us - request.started_us) / 1000, 3),
        "upstream_ms": None if upstream_us is None else round(upstream_us / 1000, 3),
        "user_agent": agent.decode("latin-1"),
    }
    return json.dumps(line).encode() + b"\n"


def lines(**settings: Any) -> JsonLines:
    return JsonLines(plain_layout(()), Redaction(), ANY_LENGTH, **settings)


@pytest.mark.parametrize("head_us", [0, 1_000_000])
def test_usual_line_is_byte_for_byte_that_of_json_dumps(head_us: int) -> None:
    raw = b'GET /a?b=\xff%22"\\ HTTP/1.1\r\nHost: x\r\nuser-AGENT: \xe9"\t\\/1\r\nX-Request-ID: id-1\r\n\r\n'
    logged = done(raw, upstream_us=head_us)
    text = lines()(logged)
    time = json.loads(text)["time"]
    assert text.encode() == as_before(logged, time)
    assert datetime.fromisoformat(time).isoformat(timespec="milliseconds") == time
    assert abs((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()) < 60


@given(st.integers(0, 10**12))
def test_milliseconds_are_written_as_repr_writes_them(us: int) -> None:
    assert ms(us) == repr(round(us / 1000, 3))


VALUES = st.binary(max_size=40).map(lambda raw: bytes(one for one in raw if one == 9 or one >= 32 and one != 127))


@given(agent=VALUES, path=st.binary(max_size=40).map(lambda raw: bytes(one for one in raw if one > 32 and one != 127)))
def test_whatever_is_sent_json_reads_it_back(agent: bytes, path: bytes) -> None:
    raw = b"GET /" + path + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: " + agent + b"\r\n\r\n"
    logged = done(raw)
    text = lines()(logged)
    assert text.isascii()
    assert text.count("\n") == 1
    line = json.loads(text)
    # What httptools takes for the value's begin and end is not the point here.
    assert line["user_agent"].strip(" \t") == agent.decode("latin-1").strip(" \t")
    assert line["path"] == Redaction().address("/" + path.decode("latin-1"))


def test_every_member_can_be_chosen() -> None:
    names = [*EXTRA, *reversed(ALWAYS)]
    line = json.loads(
        JsonLines(plain_layout(names), Redaction(), ANY_LENGTH)(done(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    )
    assert list(line) == names


def test_delays_are_told() -> None:
    logged = done(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    delays = logged.transaction.delayed()
    delays.held_us, delays.queued_us, delays.retries = 1500, 20_000, 3
    names = ("held_ms", "queued_ms", "retries")
    assert json.loads(JsonLines(plain_layout(names), Redaction(), ANY_LENGTH)(logged)) == {
        "held_ms": 1.5,
        "queued_ms": 20.0,
        "retries": 3,
    }
    assert logged.transaction.delayed() is delays
    assert isinstance(delays, Delays)


def test_long_texts_are_cut_where_lines_have_to_be_short() -> None:
    raw = b"GET /" + b"p" * 2000 + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: " + b"a" * 2000 + b"\r\n\r\n"
    line = json.loads(JsonLines(plain_layout(()), Redaction(), 100)(done(raw)))
    assert (len(line["path"]), len(line["user_agent"])) == (100, 100)


# --- ECS ------------------------------------------------------------------------------------------------------


def ecs(transaction: LoggedRequest, name: str = "") -> dict[str, Any]:
    redaction = Redaction()
    line = JsonLines(ecs_layout(name, {}), redaction, ANY_LENGTH, ecs_parts(redaction, ANY_LENGTH))(transaction)
    found: dict[str, Any] = json.loads(line)
    return found


def flat(found: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """By dotted names, which is how the schema lists its fields."""
    names: dict[str, Any] = {}
    for name, value in found.items():
        names |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return names


def test_ecs_has_no_field_that_the_schema_does_not_list() -> None:
    line = flat(ecs(done(b"GET /a?b=c HTTP/1.1\r\nHost: shop:8080\r\n\r\n"), 'the "shop" at 100 %'))
    ours = {name for name in line if name.startswith("traffic_router.")}
    assert line.keys() - ours == ECS_FIELDS
    assert line["service.name"] == 'the "shop" at 100 %'
    assert all(type(line[name]) is int for name in NUMBERS)


def test_ecs_tells_what_happened() -> None:
    raw = b"GET /a?b=c&token=x HTTP/1.0\r\nHost: [::1]:80\r\nReferer: /r\r\n\r\n"
    line = flat(ecs(done(raw, status=502, cause="upstream_reset", upstream_us=2500)))
    expected = {
        "message": "GET /a 502",
        "ecs.version": ECS_VERSION,
        "event.outcome": "failure",
        "event.category": ["web"],
        "http.version": "1.0",
        "http.request.referrer": "/r",
        "http.response.status_code": 502,
        "url.original": "/a?b=c&token=***",
        "url.path": "/a",
        "url.query": "b=c&token=***",
        "url.domain": "[::1]",
        "traffic_router.cause": "upstream_reset",
        "traffic_router.upstream_ms": 2.5,
    }
    assert {name: line[name] for name in expected} == expected
    assert line["event.duration"] == round(line["traffic_router.duration_ms"] * 1e6)
    assert "service.name" not in line


@pytest.mark.parametrize(("host", "domain"), [("shop", "shop"), ("[::1]", "[::1]"), ("shop:80", "shop")])
def test_ecs_names_the_host_without_its_port(host: str, domain: str) -> None:
    line = flat(ecs(done(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")))
    assert line["url.domain"] == domain
    assert line["url.query"] is None
    assert line["event.outcome"] == "success"
