"""What a client sees when the router itself answers: text, page or JSON, each with cause and request id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, free_port

HOST = b"Host: x.test\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST
TEXT = b"text/plain; charset=utf-8"

ROUTER_SETTINGS = {"hold_timeout": 0}
"""The answers are the subject here; test_hold.py shows what comes before them."""


def get(accept: bytes | None = None) -> bytes:
    """A GET that accepts this."""
    return GET + (b"Accept: " + accept + b"\r\n" if accept else b"") + b"\r\n"


@pytest.fixture(scope="module")
def dead_port() -> int:
    """A port that nobody listens on."""
    return free_port()


@pytest.fixture
def broken(pair: Pair, dead_port: int) -> Iterator[RouterProcess]:
    """The router while its active version refuses connections."""
    router, upstream = pair
    router.set_state("blue", blue=dead_port)
    yield router
    router.set_state("blue", blue=upstream.port)


@pytest.fixture
def inactive(pair: Pair) -> Iterator[RouterProcess]:
    """The router while no version is active."""
    router, upstream = pair
    router.set_state(None)
    yield router
    router.set_state("blue", blue=upstream.port)


@pytest.mark.parametrize("accept", [None, b"*/*", b"text/plain", b"image/png", b"text/*"])
def test_no_active_version_is_503_in_the_documented_words(inactive: RouterProcess, accept: bytes | None) -> None:
    answer = inactive.ask(get(accept))
    assert (answer.status, answer.reason) == (503, b"Service Unavailable")
    assert answer.body == b"No active backend available"
    assert answer.value(b"Content-Type") == TEXT
    assert answer.value(b"Retry-After") == b"5"
    assert answer.value(b"X-Router-Cause") == b"no_active_version"


@pytest.mark.parametrize("accept", [None, b"*/*", b"text/plain"])
def test_refused_connection_is_502_in_the_documented_words(broken: RouterProcess, accept: bytes | None) -> None:
    answer = broken.ask(get(accept))
    assert (answer.status, answer.reason, answer.body) == (502, b"Bad Gateway", b"Bad gateway")
    assert answer.value(b"Content-Type") == TEXT
    assert answer.value(b"X-Router-Cause") == b"connect_refused"
    assert answer.head.values(b"Retry-After") == []


@pytest.mark.parametrize(
    "accept",
    [
        b"application/json",
        b"application/json, text/plain;q=0.5",
        b"text/html;q=0.1, application/json",
        b"APPLICATION/JSON",
    ],
)
def test_client_that_prefers_json_gets_json(broken: RouterProcess, accept: bytes) -> None:
    answer = broken.ask(get(accept))
    assert (answer.value(b"Content-Type") or b"").startswith(b"application/json")
    found = json.loads(answer.body)
    assert found["status"] == 502
    assert found["cause"] == "connect_refused"
    assert found["version"] == "blue"
    assert found["request_id"].encode() == answer.value(b"X-Request-ID")


@pytest.mark.parametrize(
    "accept",
    [b"text/html", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"],
    ids=["plain", "browser"],
)
def test_browser_gets_a_page_with_cause_version_and_request_id(broken: RouterProcess, accept: bytes) -> None:
    answer = broken.ask(get(accept))
    assert (answer.value(b"Content-Type") or b"").lower() == b"text/html; charset=utf-8"
    assert answer.text.lower().startswith("<!doctype html>")
    for word in ("connect_refused", "blue", (answer.value(b"X-Request-ID") or b"?").decode()):
        assert word in answer.text
    assert re.search(r"<title>[^<]+</title>", answer.text)


def test_page_quotes_nothing_unescaped(broken: RouterProcess) -> None:
    request = b"GET /<script>alert(1)</script>?<b> HTTP/1.1\r\nHost: x.test\r\nAccept: text/html\r\n\r\n"
    assert b"<script>alert" not in broken.ask(request).body


@pytest.mark.parametrize("accept", [b"text/html", b"application/json", b"*/*"])
def test_errors_may_not_be_stored(broken: RouterProcess, accept: bytes) -> None:
    assert broken.ask(get(accept)).value(b"Cache-Control") == b"no-store"


def test_request_id_of_the_client_is_in_the_error(broken: RouterProcess) -> None:
    answer = broken.ask(GET + b"X-Request-ID: mine-1\r\n\r\n")
    assert answer.value(b"X-Request-ID") == b"mine-1"


def test_connection_is_kept_after_a_gateway_error(broken: RouterProcess) -> None:
    with broken.connect() as client:
        assert [client.ask(get()).status for _ in range(3)] == [502, 502, 502]


def test_body_of_a_failed_request_is_not_read_as_the_next(broken: RouterProcess) -> None:
    hidden = b"GET /hidden HTTP/1.1\r\nHost: x.test\r\n\r\n"
    with broken.connect() as client:
        first = client.ask(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(hidden), hidden)
        assert first.status == 502
        if first.value(b"Connection") == b"close":
            assert client.how_it_ends() == "closed"
        else:
            assert client.ask(get()).status == 502
            assert not client.has_bytes(0.2)


def test_upload_that_fails_gets_its_answer(broken: RouterProcess) -> None:
    """The answer must not be lost in the reset that unread bytes would cause."""
    with broken.connect() as client:
        client.send(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 2097152\r\n\r\n")
        for _ in range(32):
            client.send(bytes(65536))
        assert client.read_response().status == 502


def test_reset_upstream_is_502(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.reset()
    answer = router.ask(get())
    assert (answer.status, answer.body) == (502, b"Bad gateway")
    assert answer.value(b"X-Router-Cause") == b"upstream_reset"


def test_error_of_the_application_is_passed_on_untouched(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"mine", b"502 Bad Gateway", [(b"Content-Type", b"text/x")]))
    answer = router.ask(get(b"text/html"))
    assert (answer.status, answer.body, answer.value(b"Content-Type")) == (502, b"mine", b"text/x")
    assert answer.head.values(b"X-Router-Cause") == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"active_version": "gre', b"[]", b'{"active_version": "purple"}', b"\xff\xfe"]
)
def test_unreadable_state_leaves_the_last_good_one_in_force(
    router: RouterProcess, upstream: RawUpstream, content: bytes
) -> None:
    assert router.ask(get()).status == 200
    replacement = router.state_file.with_suffix(".new")
    replacement.write_bytes(content)
    replacement.replace(router.state_file)
    try:
        assert router.ask(get()).status == 200
    finally:
        router.set_state("blue", blue=upstream.port)


def test_missing_state_leaves_the_last_good_one_in_force(router: RouterProcess, upstream: RawUpstream) -> None:
    assert router.ask(get()).status == 200
    router.state_file.unlink()
    try:
        assert router.ask(get()).status == 200
        health = json.loads(router.ask(b"GET /__router_health HTTP/1.1\r\n" + HOST + b"\r\n").body)
        assert "missing" in json.dumps(health["state"])
    finally:
        router.set_state("blue", blue=upstream.port)


def test_each_state_is_in_force_with_the_next_request(farm: RouterFarm) -> None:
    router, upstream = farm.get()
    with router.connect() as client, RawUpstream() as green:
        green.answers(reply(b"green"))
        upstream.answers(reply(b"blue"))
        for _ in range(25):
            router.set_state("green", blue=upstream.port, green=green.port)
            assert client.ask(get()).body == b"green"
            router.set_state("blue", blue=upstream.port, green=green.port)
            assert client.ask(get()).body == b"blue"
