"""Recording whole exchanges: what is kept, what is masked, and that nothing is left of it when it is over."""

from __future__ import annotations

import json
import os
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.proxy.exchange_recorder import ExchangeRecorder
from app.state.recording_order import NAME, RecordingOrder, write_order
from tests.proxy.flying import Flying
from tests.support.raw_upstream import RawUpstream, reply

GET = b"GET /api/a?token=SECRET&x=1 HTTP/1.1\r\nHost: x\r\nAuthorization: SECRET\r\n\r\n"

Fly = Callable[..., Flying]


class Recorded:
    """A proxy that records, and what it has recorded."""

    def __init__(self, flying: Flying, folder: Path) -> None:
        self.flying = flying
        self.file = folder / "recording.jsonl"
        self.order = folder / NAME
        self.told: list[bool] = []
        self.recording: ExchangeRecorder = flying.service.recording
        self.recording.follow(self.told.append)
        self.file.touch(0o600)

    def begin(self, max_body: int = 4096, max_bytes: int = 1 << 20, lasts_s: float = 60) -> None:
        write_order(self.order, RecordingOrder(("/api/*",), time.time() + lasts_s, max_body, max_bytes, str(self.file)))
        self.recording.look()

    def forward(self, raw: bytes) -> None:
        request, _ = self.flying.request(raw)
        assert list(self.recording.forward(request)({}, None)) == []

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.fixture
def recorded(flying: Flying, tmp_path: Path) -> Recorded:
    return Recorded(flying, tmp_path)


def test_exchange_has_both_heads_and_both_bodies_with_secrets_masked(recorded: Recorded, upstream: RawUpstream) -> None:
    fields = [(b"Content-Type", b"application/json"), (b"Set-Cookie", b"s=SECRET")]
    upstream.answers(reply(b'{"id": 7, "token": "SECRET"}', fields=fields))
    recorded.begin()
    recorded.forward(
        b"POST /api/a?code=SECRET&x=1 HTTP/1.1\r\nHost: x\r\nCookie: SECRET\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 22\r\n\r\nuser=a&password=SECRET"
    )
    (exchange,) = recorded.exchanges
    assert "SECRET" not in recorded.file.read_text()
    request, response = exchange["request"], exchange["response"]
    assert (request["method"], request["target"], exchange["status"]) == ("POST", "/api/a?code=***&x=1", 200)
    assert ["Cookie", "***"] in request["fields"]
    assert (request["body"], request["body_bytes"]) == ("user=a&password=***", 22)
    assert (response["body"], response["body_bytes"]) == ('{"id": 7, "token": "***"}', 28)
    assert ["Set-Cookie", "***"] in response["fields"]


def test_bodies_in_chunks_are_without_their_framing(recorded: Recorded, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    recorded.begin()
    recorded.forward(
        b"POST /api/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfg\r\n3\r\nhij\r\n0\r\n\r\n"
    )
    (exchange,) = recorded.exchanges
    assert (exchange["request"]["body"], exchange["response"]["body"]) == ("fghij", "abcde")


def test_no_more_of_a_body_is_kept_than_was_asked_for(recorded: Recorded, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"r" * 900_000))
    recorded.begin(max_body=10)
    received: list[bytes] = []
    length = 50_000
    raw = b"POST /api/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length + b"q" * length
    recorded.flying.forward_in_thread(raw, received, recorded.recording.forward)
    (exchange,) = recorded.exchanges
    assert (exchange["request"]["body"], exchange["response"]["body"]) == ("q" * 10, "r" * 10)
    assert (exchange["request"]["body_bytes"], exchange["response"]["body_bytes"]) == (length, 900_000)
    assert received[0].endswith(b"r" * 900_000)


def test_what_is_no_text_is_base64_and_what_is_encoded_is_left_out(recorded: Recorded, upstream: RawUpstream) -> None:
    recorded.begin()
    upstream.answers(reply(b"\x89PNG\x00\xff"))
    recorded.forward(GET)
    upstream.answers(reply(b"\x1f\x8b", fields=[(b"Content-Encoding", b"gzip")]))
    recorded.forward(GET)
    upstream.answers(reply("aä".encode()))
    recorded.begin(max_body=2)
    recorded.forward(GET)
    image, packed, cut = (exchange["response"] for exchange in recorded.exchanges)
    assert b64decode(image["body"]) == b"\x89PNG\x00\xff"
    assert packed["body"] is None
    assert packed["left_out"] == "it is encoded (gzip)"
    assert cut["body"] == "a"


def test_other_paths_are_not_recorded_and_all_have_their_line_in_the_log(
    recorded: Recorded, upstream: RawUpstream
) -> None:
    upstream.answers(reply(b"ok"))
    recorded.begin()
    recorded.forward(GET)
    recorded.forward(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [exchange["request"]["target"] for exchange in recorded.exchanges] == ["/api/a?token=***&x=1"]
    assert len(recorded.flying.logged()) == 2


def test_refusal_of_the_routers_own_is_recorded_with_its_cause(fly: Fly, tmp_path: Path) -> None:
    recorded = Recorded(fly(None), tmp_path)
    recorded.begin()
    recorded.forward(GET)
    assert [(one["status"], one["cause"]) for one in recorded.exchanges] == [(503, "no_active_version")]


def test_recording_ends_with_its_time_and_nothing_is_left_on_the_way(recorded: Recorded, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"ok"))
    records, log = recorded.flying.service.records, recorded.flying.service.records.access_log
    recorded.begin(lasts_s=0.2)
    assert records.access_log is not log
    time.sleep(0.25)
    recorded.recording.look()
    assert records.access_log is log
    assert recorded.told == [True, False]
    recorded.forward(GET)
    assert recorded.exchanges == []


def test_recording_ends_when_its_order_is_taken_away_and_begins_with_another(recorded: Recorded) -> None:
    recorded.begin()
    recorded.recording.look()
    recorded.order.unlink()
    recorded.recording.look()
    recorded.begin()
    assert recorded.told == [True, False, True]


def test_order_whose_time_is_over_begins_nothing(recorded: Recorded) -> None:
    recorded.begin(lasts_s=-1)
    assert recorded.told == []


def test_recording_ends_when_its_file_is_full(recorded: Recorded, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"ok"))
    recorded.begin(max_bytes=1500)
    for _ in range(10):
        recorded.forward(GET)
    recorded.recording.look()
    assert recorded.told == [True, False]
    assert 0 < recorded.file.stat().st_size <= 1500
    assert recorded.exchanges


@pytest.mark.parametrize("spoil", ["readable by others", "a link", "away"])
def test_file_that_is_not_the_owners_alone_is_not_written(
    recorded: Recorded, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    if spoil == "readable by others":
        recorded.file.chmod(0o640)
    else:
        recorded.file.rename(recorded.file.with_suffix(".other"))
        if spoil == "a link":
            os.symlink(recorded.file.with_suffix(".other"), recorded.file)
    recorded.begin()
    assert recorded.told == []
    assert "cannot be recorded" in caplog.text
    recorded.file.unlink(missing_ok=True)
