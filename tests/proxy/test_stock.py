"""The proxy as a WSGI application, as a stock gunicorn worker runs it; the version is a double or a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import responses
from werkzeug.test import Client, TestResponse

from app.errors import UpstreamConnectError, UpstreamReadTimeout, UpstreamTruncated
from app.settings.loading import Loaded
from app.web import RouterApp, create_app
from tests.proxy.flying import close_idle
from tests.support.configs import router_config
from tests.support.raw_upstream import Exchange, RawUpstream, reply

MakeApp = Callable[..., RouterApp]


class Server(Client):
    """A WSGI server in the place of gunicorn: it reads each answer whole and closes it."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        return super().open(*args, buffered=True, environ_base={"REMOTE_ADDR": "127.0.0.1"}, **kwargs)


@pytest.fixture
def make_app(tmp_path: Path, upstream: RawUpstream) -> Iterator[MakeApp]:
    """Makes the application with these settings, blue being active."""
    made: list[RouterApp] = []

    def make(**settings: Any) -> RouterApp:
        state = tmp_path / "bg_state.json"
        state.write_text(json.dumps({"active_version": "blue", "versions": {"blue": {"port": upstream.port}}}))
        fields = {"state_file": str(state), "dashboard_path": "", "access_log": str(tmp_path / "access.jsonl")}
        made.append(create_app(Loaded.just(router_config(**{"show_cause": "always", **fields, **settings}))))
        return made[-1]

    yield make
    for app in made:
        assert app.service.metrics.in_flight("blue") == 0, "every claim is released"
        close_idle(app.service.router.session(upstream.port))
        app.service.metrics.close()


@pytest.fixture
def client(make_app: MakeApp) -> Client:
    """Asks an application that holds no request: what it answers is the subject here."""
    return Server(make_app(hold_timeout=0).wsgi_app)


def logged(app: RouterApp) -> list[dict[str, Any]]:
    """The lines of the access log."""
    assert app.service.records.access_log is not None
    app.service.records.access_log.flush()
    return [json.loads(line) for line in Path(app.service.config.access_log).read_text().splitlines()]


# --- with a double --------------------------------------------------------------------------------------------


def test_answer_of_the_version_passes(client: Client, double: responses.RequestsMock, upstream: RawUpstream) -> None:
    double.get(f"http://127.0.0.1:{upstream.port}/a?b=c", body="hello", status=203, headers={"X-App": "1"})
    answer: TestResponse = client.get("/a?b=c", headers={"X-Request-ID": "id-1"})
    assert (answer.status_code, answer.data, answer.headers["X-App"]) == (203, b"hello", "1")
    assert answer.headers["X-Request-ID"] == "id-1"
    assert double.calls[0].request.headers["X-Forwarded-For"] == "127.0.0.1"
    assert double.calls[0].request.headers["X-Request-ID"] == "id-1"


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        (UpstreamConnectError("x"), 502, "connect_refused"),
        (UpstreamReadTimeout("x"), 504, "read_timeout"),
        (ZeroDivisionError("x"), 500, "internal_error"),
    ],
)
def test_failure_of_the_version_is_answered(
    client: Client, double: responses.RequestsMock, upstream: RawUpstream, error: Exception, status: int, cause: str
) -> None:
    double.get(f"http://127.0.0.1:{upstream.port}/", body=error)
    answer = client.get("/", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["X-Router-Cause"]) == (status, cause)
    assert answer.json is not None
    assert answer.json["version"] == "blue"


@pytest.mark.parametrize(
    ("method", "target", "host", "status"),
    [("GET", "/", "a b", 400), ("CONNECT", "/", "x", 405), ("TRACE", "/", "x", 405)],
)
def test_request_is_held_to_the_same_rules(client: Client, method: str, target: str, host: str, status: int) -> None:
    answer = client.open(target, method=method, headers={"Host": host})
    assert (answer.status_code, "X-Router-Cause" in answer.headers) == (status, True)


def test_own_pages_are_flasks_affair(client: Client, make_app: MakeApp) -> None:
    assert client.get("/__router_health").get_json()["active_version"] == "blue"
    assert client.get("/__router_none").status_code == 404
    assert client.post("/__router_health").status_code == 405
    assert Server(make_app(metrics_enabled=False).wsgi_app).get("/__router_metrics").status_code == 404


def test_metrics_count_what_passed(client: Client, double: responses.RequestsMock, upstream: RawUpstream) -> None:
    double.get(f"http://127.0.0.1:{upstream.port}/", body="12345")
    client.get("/")
    figures = client.get("/__router_metrics").get_json()
    assert (figures["total_requests"], figures["bytes_proxied"], figures["success_rate"]) == (1, 5, 100.0)


# --- over a real socket ---------------------------------------------------------------------------------------


def test_body_is_streamed_both_ways(client: Client, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    answer = client.put("/up", data=b"question")
    assert (answer.data, upstream.only.body) == (b"abcde", b"question")


def test_upgrade_is_not_asked_for(client: Client, upstream: RawUpstream) -> None:
    assert client.get("/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket"}).status_code == 200
    assert upstream.only.head.values(b"Upgrade") == []


def test_repeated_fields_of_the_answer_pass(client: Client, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"x", b"200 Fine", [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]))
    answer = client.get("/")
    assert (answer.status, answer.headers.getlist("Set-Cookie")) == ("200 Fine", ["a=1", "b=2"])


def run(app: RouterApp, target: str = "/") -> tuple[Iterator[bytes], Any]:
    """Begins an answer as a WSGI server does: its iterator, and the iterable that is to be closed."""
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": target,
        "PATH_INFO": target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "x",
        "wsgi.url_scheme": "http",
    }
    iterable = app.wsgi_app(environ, lambda status, fields: None)
    return iter(iterable), iterable


def test_answer_that_breaks_off_raises_in_the_server(make_app: MakeApp, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", then_close=True)
    app = make_app()
    parts, iterable = run(app)
    assert next(parts) == b"abc"
    with pytest.raises(UpstreamTruncated):
        next(parts)
    iterable.close()
    assert (logged(app)[0]["status"], logged(app)[0]["cause"]) == (200, "upstream_truncated")


def test_answer_that_stops_raises_in_the_server(make_app: MakeApp, upstream: RawUpstream) -> None:
    def begin_and_stop(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        exchange.hold(threading.Event())

    upstream.handler = begin_and_stop
    app = make_app(read_timeout=0.05)
    parts, iterable = run(app)
    assert next(parts) == b"abc"
    with gevent.Timeout(10), pytest.raises(UpstreamReadTimeout):
        next(parts)
    iterable.close()
    assert logged(app)[0]["cause"] == "read_timeout"


def test_answer_that_is_closed_early_was_left_by_its_client(make_app: MakeApp, upstream: RawUpstream) -> None:
    upstream.answers(reply(bytes(1 << 20)))
    app = make_app()
    parts, iterable = run(app)
    next(parts)
    iterable.close()
    iterable.close()
    assert [(line["status"], line["cause"]) for line in logged(app)] == [(499, "client_disconnected")]
