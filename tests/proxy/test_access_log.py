"""The access log: one JSON object per request, appended in one write, never in a request's way."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from app.operator_errors import ConfigError
from app.proxy.access_log import AccessLog
from tests.proxy.flying import Flying
from tests.support.raw_upstream import RawUpstream, reply

GET = b"GET /a?b=\xff HTTP/1.1\r\nHost: x\r\nUser-Agent: \xe9/1\r\nX-Request-ID: id-1\r\n\r\n"

Fly = Callable[..., Flying]


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
    assert len(flying.log_path.read_text().splitlines()) == 1
    assert flying.logged()[0]["user_agent"] == '"},\t{"status": 200'


def test_lines_are_appended_to_a_file_that_others_cannot_read(fly: Fly, tmp_path: Path) -> None:
    flying = fly()
    flying.forward(GET)
    assert stat.S_IMODE(flying.log_path.stat().st_mode) & 0o027 == 0
    other = fly()
    other.forward(GET)
    assert len(flying.logged()) == 2


def test_reopening_begins_a_new_file_after_a_rename(flying: Flying, tmp_path: Path) -> None:
    flying.forward(GET)
    flying.log_path.rename(tmp_path / "access.jsonl.1")
    flying.forward(GET)
    assert not flying.log_path.exists()
    log = flying.service.records.access_log
    assert log is not None
    log.reopen()
    flying.forward(GET)
    assert len(flying.logged()) == 1
    assert len((tmp_path / "access.jsonl.1").read_text().splitlines()) == 2


def test_file_that_cannot_be_opened_anew_leaves_the_one_that_is_open(flying: Flying, tmp_path: Path) -> None:
    log, moved = flying.service.records.access_log, tmp_path / "access.jsonl.1"
    assert log is not None
    flying.log_path.touch()
    flying.log_path.rename(moved)
    flying.log_path.mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        log.reopen()
    flying.forward(GET)
    assert len(moved.read_text().splitlines()) == 1


def test_dash_is_standard_output(fly: Fly, capfd: pytest.CaptureFixture[str]) -> None:
    flying = fly(access_log="-")
    flying.forward(GET)
    log = flying.service.records.access_log
    assert log is not None
    log.reopen()
    flying.forward(GET)
    assert [json.loads(line)["status"] for line in capfd.readouterr().out.splitlines()] == [200, 200]


def test_full_disk_loses_lines_and_no_requests(fly: Fly) -> None:
    _, wire = fly(access_log="/dev/full").forward(GET)
    head = wire.read_head()
    assert head is not None
    assert head.start_line == b"HTTP/1.1 200 OK"


def test_log_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"access_log = .*/missing/access.jsonl: No such file"):
        AccessLog(str(tmp_path / "missing" / "access.jsonl"))
