"""The access log: which requests get a line, where it goes, and never in a request's way."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from app.log_fields import FORMATS
from app.operator_errors import ConfigError
from app.proxy.request_log.outlet import open_outlet
from app.proxy.transaction import RequestLog
from tests.proxy.flying import Flying
from tests.support.raw_upstream import Exchange, RawUpstream, reply

GET = b"GET /a?b=\xff HTTP/1.1\r\nHost: x\r\nUser-Agent: \xe9/1\r\nX-Request-ID: id-1\r\n\r\n"

Fly = Callable[..., Flying]


def late_by(seconds: float) -> Callable[[Exchange], None]:
    """A version that takes its time."""

    def handle(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.send(reply(b""))

    return handle


def log_of(flying: Flying) -> RequestLog:
    """The log of a proxy that has one."""
    log = flying.service.records.access_log
    assert log is not None
    return log


def test_line_tells_all_about_a_request(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"hello", b"404 Not Found"))
    flying.forward(GET)
    line = flying.logged()[0]
    assert abs(datetime.fromisoformat(line.pop("time")).timestamp() - datetime.now().timestamp()) < 60
    assert 0 <= line.pop("upstream_ms") <= line.pop("duration_ms")
    assert line == {
        "request_id": "id-1",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/a?b=\xff",
        "protocol": "HTTP/1.1",
        "version": "blue",
        "release": None,
        "status": 404,
        "cause": "none",
        "bytes_in": 0,
        "bytes_out": 5,
        "user_agent": "\xe9/1",
    }


def test_line_of_a_request_with_a_body_counts_the_body_alone(flying: Flying) -> None:
    flying.forward(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
    line = flying.logged()[0]
    assert (line["bytes_in"], line["protocol"], line["user_agent"]) == (3, "HTTP/1.0", "")


def test_request_that_was_not_answered_has_no_upstream_time(fly: Fly) -> None:
    flying = fly(None)
    flying.forward(GET)
    assert flying.logged()[0]["upstream_ms"] is None


def test_client_behind_a_trusted_proxy_is_named(fly: Fly) -> None:
    flying = fly(forwarded_hops=1)
    flying.forward(GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n\r\n"))
    assert flying.logged()[0]["client"] == "203.0.113.9"


def test_no_line_can_be_forged(flying: Flying) -> None:
    flying.forward(b'GET /"}%0a{" HTTP/1.1\r\nHost: x\r\nUser-Agent: "},\t{"status": 200\r\n\r\n')
    assert len(flying.logged()) == 1
    assert flying.logged()[0]["user_agent"] == '"},\t{"status": 200'


def test_lines_are_appended_to_a_file_that_others_cannot_read(fly: Fly, tmp_path: Path) -> None:
    flying = fly()
    flying.forward(GET)
    assert stat.S_IMODE(flying.log_path.stat().st_mode) & 0o027 == 0
    other = fly()
    other.forward(GET)
    assert len(flying.logged()) == 1
    assert len(other.logged()) == 2


def test_reopening_begins_a_new_file_after_a_rename(flying: Flying, tmp_path: Path) -> None:
    flying.forward(GET)
    flying.log_path.rename(tmp_path / "access.jsonl.1")
    flying.forward(GET)
    assert not flying.log_path.exists()
    log_of(flying).reopen()
    flying.forward(GET)
    assert len(flying.logged()) == 1
    assert len((tmp_path / "access.jsonl.1").read_text().splitlines()) == 2


def test_file_that_cannot_be_opened_anew_leaves_the_one_that_is_open(flying: Flying, tmp_path: Path) -> None:
    log, moved = log_of(flying), tmp_path / "access.jsonl.1"
    flying.log_path.touch()
    flying.log_path.rename(moved)
    flying.log_path.mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        log.reopen()
    flying.forward(GET)
    log.flush()
    assert len(moved.read_text().splitlines()) == 1


def test_dash_is_standard_output(fly: Fly, capfd: pytest.CaptureFixture[str]) -> None:
    flying = fly(access_log="-")
    flying.forward(GET)
    log_of(flying).reopen()
    flying.forward(GET)
    log_of(flying).flush()
    assert [json.loads(line)["status"] for line in capfd.readouterr().out.splitlines()] == [200, 200]


def test_full_disk_loses_lines_and_no_requests(fly: Fly) -> None:
    _, wire = fly(access_log="/dev/full").forward(GET)
    head = wire.read_head()
    assert head is not None
    assert head.start_line == b"HTTP/1.1 200 OK"


def test_log_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"access_log = .*/missing/access.jsonl: No such file"):
        open_outlet(str(tmp_path / "missing" / "access.jsonl"))


# --- which requests get a line --------------------------------------------------------------------------------


def test_sample_of_none_leaves_what_failed(fly: Fly, upstream: RawUpstream) -> None:
    flying = fly(access_log_sample=0)
    for status in (b"200 OK", b"503 Service Unavailable", b"404 Not Found"):
        upstream.answers(reply(b"", status))
        flying.forward(GET)
    assert [line["status"] for line in flying.logged()] == [503]


def test_what_failed_in_the_router_is_logged(fly: Fly) -> None:
    flying = fly(None, access_log_sample=0)
    flying.forward(GET)
    assert [line["cause"] for line in flying.logged()] == ["no_active_version"]


def test_failed_ones_are_sampled_as_well_where_that_is_wanted(fly: Fly, upstream: RawUpstream) -> None:
    flying = fly(access_log_sample=0, access_log_errors=False)
    upstream.answers(reply(b"", b"503 Service Unavailable"))
    flying.forward(GET)
    assert flying.logged() == []


def test_slow_ones_are_always_logged(fly: Fly, upstream: RawUpstream) -> None:
    flying = fly(access_log_sample=0, access_log_slow="0.001")
    upstream.handler = late_by(0.02)
    flying.forward(GET)
    assert [line["status"] for line in flying.logged()] == [200]
    quick = fly(access_log_sample=0, access_log_slow="60")
    quick.forward(GET)
    assert len(quick.logged()) == 1


def test_sample_is_about_the_share_that_was_asked_for(fly: Fly) -> None:
    flying = fly(access_log_sample=0.3)
    log = log_of(flying)
    request, _ = flying.request(GET)
    transaction = flying.service.forwarder.transaction_of(request)
    for _ in range(2000):
        log.write(transaction, 200, "none", 0, request.started_us)
    assert 450 < len(flying.logged()) < 750


# --- what is masked, in every format --------------------------------------------------------------------------

SECRETS = (
    b"GET /cb?code=SECRET&page=2 HTTP/1.1\r\nHost: x\r\nReferer: https://idp/?id_token=SECRET&x=1\r\n"
    b"Authorization: Bearer SECRET\r\nCookie: s=SECRET\r\nX-Api-Key: SECRET\r\nX-Card: SECRET\r\n\r\n"
)


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_shows_a_secret(fly: Fly, upstream: RawUpstream, form: str) -> None:
    asked: dict[str, object] = {"access_log_format": form, "access_log_redact": ["X-Card"]}
    if form in ("json", "ecs"):
        asked["access_log_headers"] = ["Authorization", "cookie", "X-Api-Key", "Referer", "X-Card"]
        asked["access_log_response_headers"] = ["Set-Cookie", "Location"]
    flying = fly(**asked)
    upstream.answers(
        reply(b"", fields=[(b"Set-Cookie", b"s=SECRET"), (b"Location", b"/a?token=SECRET"), (b"X-Other", b"1")])
    )
    flying.forward(SECRETS)
    log_of(flying).flush()
    text = flying.log_path.read_text()
    assert "SECRET" not in text
    assert "code=***&page=2" in text
    assert ("id_token=***&x=1" in text) is (form != "common")


def test_fields_that_are_asked_for_are_in_the_line(fly: Fly, upstream: RawUpstream) -> None:
    flying = fly(
        access_log_fields=["status", "path", "referer", "host", "backend", "preview", "retries", "held_ms"],
        access_log_headers=["Accept", "X-None"],
        access_log_response_headers=["content-type"],
    )
    upstream.answers(reply(b"", fields=[(b"Content-Type", b"text/html"), (b"X-Other", b"1")]))
    flying.forward(b"GET /a HTTP/1.1\r\nHost: shop:80\r\nAccept: a\r\naccept: b\r\nReferer: /%\r\n\r\n")
    assert flying.logged() == [
        {
            "status": 200,
            "path": "/a",
            "referer": "/%",
            "host": "shop:80",
            "backend": None,
            "preview": False,
            "retries": 0,
            "held_ms": 0.0,
            "request_headers": {"Accept": "a, b"},
            "response_headers": {"content-type": "text/html"},
        }
    ]


def test_answer_of_the_routers_own_has_no_fields_of_the_applications(fly: Fly) -> None:
    flying = fly(None, access_log_response_headers=["Content-Type"])
    flying.forward(GET)
    assert flying.logged()[0]["response_headers"] == {}
