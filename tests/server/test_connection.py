"""One client connection: requests read the same in any split, in order, and every way in which it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import RouterError
from app.protocol.chunked import ChunkedDecoder
from app.proxy.environ import REQUEST_KEY
from app.server.client_connection import ClientConnection
from app.server.serving import Serving
from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.web import RouterApp, create_app
from tests.protocol.messages import block, chunked_bodies, cuts, fields, methods, split, targets
from tests.support.waiting import wait_until
from tests.support.wire import Wire
from tests.transport.loopback import connected

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Seen:
    """A request as the application gets it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes


class ScriptedEndpoint:
    """A client's endpoint that delivers these pieces, one a read, and then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.buffered = b""
        self.closed = False
        self.sent = b""
        self._pieces = list(pieces)

    def read(self, limit: object, size: int = 65536) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def receive(self, size: int = 65536) -> bytes | None:
        return self.read(None)

    def send(self, data: bytes, limit: object) -> None:
        self.sent += data

    def end_writing(self) -> None:
        """Nothing more comes."""

    def close(self) -> None:
        self.closed = True


@dataclass
class Recorder:
    """An application that reads each request whole and answers nothing."""

    seen: list[Seen] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        request = environ[REQUEST_KEY]
        request.answered = True
        body = b""
        try:
            while request.body is not None and not request.body.complete:
                body += request.body.take()
        except RouterError:
            request.persist = False
            return []
        if request.head.chunked:  # how it is cut into chunks is nobody's business
            body = ChunkedDecoder().feed(body)[0]
        self.seen.append(Seen(request.head.method, request.head.target, request.head.fields, body))
        return []


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterApp]:
    """The router's application, with no version behind it."""
    folder: Path = tmp_path_factory.mktemp("server")
    made = create_app(
        Loaded.just(
            RouterConfig(
                state_file=str(folder / "bg_state.json"),
                max_request_line_bytes=256,
                max_head_bytes=1024,
                max_body_bytes=1000,
                max_client_connections=2,
                head_timeout=0.1,
                keepalive_timeout=0.1,
                dashboard_path="",
                show_cause="always",
            )
        )
    )
    yield made
    made.service.metrics.close()


@pytest.fixture
def serving(app: RouterApp) -> Serving:
    """What the worker's connections share."""
    found = Serving.of(app)
    assert found is not None
    return found


def outcome(app: RouterApp, pieces: list[bytes]) -> tuple[list[Seen], bool]:
    """The requests that a connection delivering these pieces carries, and whether something was refused."""
    serving = Serving.of(app)
    assert serving is not None
    recorder = Recorder()
    endpoint = ScriptedEndpoint(pieces)
    client: Any = endpoint  # a stand-in that speaks bytes
    ClientConnection(client, "127.0.0.1", serving, recorder).serve()
    assert endpoint.closed
    return recorder.seen, bool(endpoint.sent)


PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to three pipelined requests, with and without bodies."""
    raw = b""
    for _ in range(draw(st.integers(1, 3))):
        raw += draw(st.sampled_from([b"", b"\r\n"])) + draw(methods) + b" " + draw(targets) + b" HTTP/1.1\r\n"
        sent = [(b"Host", b"x"), *draw(fields)]
        kind = draw(st.sampled_from(["none", "length", "chunked"]))
        if kind == "none":
            raw += block(sent)
        elif kind == "length":
            body = draw(st.binary(max_size=50))
            raw += block([*sent, (b"Content-Length", b"%d" % len(body))]) + body
        else:
            raw += block([*sent, (b"Transfer-Encoding", b"chunked")]) + draw(chunked_bodies())[2]
    return raw


@PROPERTY
@given(streams(), cuts)
def test_any_split_gives_the_same_requests(app: RouterApp, raw: bytes, places: list[int]) -> None:
    whole = outcome(app, [raw])
    assert outcome(app, split(raw, places)) == whole
    assert not whole[1]
    assert whole[0]


@PROPERTY
@given(streams(), st.integers(0, 10_000), st.binary(max_size=3), cuts)
def test_any_split_of_damaged_bytes_gives_the_same_requests(
    app: RouterApp, raw: bytes, place: int, damage: bytes, places: list[int]
) -> None:
    at = place % len(raw)
    damaged = raw[:at] + damage + raw[at + 1 :]
    assert outcome(app, split(damaged, places)) == outcome(app, [damaged])


# --- over a real socket ---------------------------------------------------------------------------------------


def converse(serving: Serving, talk: Callable[[Wire], Any]) -> Any:
    """Serves a connection to its end while `talk` has the other; gives what that returns."""
    near, far = connected()
    wire = Wire(far)
    said: list[Any] = []

    def talk_and_leave() -> None:
        try:
            said.append(talk(wire))
        finally:
            wire.close()

    talking = threading.Thread(target=talk_and_leave)
    talking.start()
    with gevent.Timeout(10):
        serving.serve(near, "192.0.2.1")
    talking.join(10)
    assert said, "the client failed"
    return said[0]


def answer_to(serving: Serving, *pieces: bytes) -> tuple[bytes, bytes]:
    """Status line and cause of the only answer to these bytes, after which the connection ends."""

    def talk(wire: Wire) -> tuple[bytes, bytes]:
        for piece in pieces:
            wire.send(piece)
        head = wire.read_head()
        assert head is not None
        wire.read_to_end()
        return head.start_line, head.value(b"X-Router-Cause") or b""

    return converse(serving, talk)  # type: ignore[no-any-return]  # what `talk` returns


def test_requests_are_answered_in_order_on_one_connection(serving: Serving) -> None:
    def talk(wire: Wire) -> list[int]:
        statuses = []
        wire.send(GET + GET.replace(b"/a", b"/__router_none") + GET)
        for _ in range(3):
            head = wire.read_head()
            assert head is not None
            wire.read_exactly(int(head.value(b"Content-Length") or b"0"))
            statuses.append(int(head.start_line.split()[1]))
        wire.finish_writing()
        assert wire.read_to_end() == b""
        return statuses

    assert converse(serving, talk) == [503, 404, 503]


@pytest.mark.parametrize(
    ("raw", "status", "cause"),
    [
        pytest.param(b"GET  / HTTP/1.1\r\n\r\n", b"400", b"malformed_request", id="two-spaces"),
        pytest.param(b"\x16\x03\x01", b"400", b"malformed_request", id="tls-hello"),
        pytest.param(b"GET / HTTP/1.1\n", b"400", b"malformed_request", id="bare-lf"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: b\nC", b"400", b"malformed_request", id="bare-lf-later"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC", b"400", b"malformed_request", id="bare-cr"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: \0", b"400", b"malformed_request", id="nul"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505", b"version_not_supported", id="http-2"),
        pytest.param(b"GET /" + b"a" * 300, b"414", b"request_line_too_long", id="endless-line"),
        pytest.param(b"GET /" + b"a" * 300 + b" HTTP/1.1\r\n\r\n", b"414", b"request_line_too_long", id="long-line"),
        pytest.param(GET[:-2] + b"A: " + b"a" * 1100, b"431", b"fields_too_large", id="endless-head"),
        pytest.param(GET[:-2] + b"A: " + b"a" * 1100 + b"\r\n\r\n", b"431", b"fields_too_large", id="long-head"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", b"413", b"body_too_large", id="long-body"
        ),
        pytest.param(b"GET / HT", b"408", b"client_too_slow", id="slow-line"),
        pytest.param(GET[:-2], b"408", b"client_too_slow", id="slow-head"),
    ],
)
def test_refused_bytes_end_the_connection_after_the_answer(
    serving: Serving, raw: bytes, status: bytes, cause: bytes
) -> None:
    line, found = answer_to(serving, raw)
    assert (line.split()[1], found) == (status, cause)


def test_head_that_breaks_off_is_malformed(serving: Serving) -> None:
    def talk(wire: Wire) -> bytes:
        wire.send(b"GET / HT")
        wire.finish_writing()
        return wire.read_to_end()

    assert converse(serving, talk).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\r\n\r\n"])
def test_client_that_says_nothing_gets_no_answer(serving: Serving, raw: bytes) -> None:
    def talk(wire: Wire) -> bytes:
        wire.send(raw)
        wire.finish_writing()
        return wire.read_to_end()

    assert converse(serving, talk) == b""


def test_idle_connection_is_closed_without_an_answer(serving: Serving) -> None:
    assert converse(serving, Wire.read_to_end) == b""


def test_connections_of_one_address_are_bounded(serving: Serving) -> None:
    open_ones = [connected() for _ in range(2)]
    serving_them = [gevent.spawn(serving.serve, near, "192.0.2.1") for near, _ in open_ones]
    gevent.sleep(0)
    line, cause = answer_to(serving)
    assert (line, cause) == (b"HTTP/1.1 429 Too Many Requests", b"too_many_connections")
    for _, far in open_ones:
        far.close()
    gevent.joinall(serving_them, timeout=10, raise_error=True)
    assert answer_to(serving, GET)[0].split()[1] == b"503"


# --- stopping -------------------------------------------------------------------------------------------------


def test_worker_that_stops_answers_for_the_last_time(serving: Serving) -> None:
    serving.keep_no_connection()

    def talk(wire: Wire) -> tuple[bytes | None, bytes]:
        wire.send(GET)
        head = wire.read_head()
        assert head is not None
        wire.read_exactly(int(head.value(b"Content-Length") or b"0"))
        return head.value(b"Connection"), wire.read_to_end()

    assert converse(serving, talk) == (b"close", b"")


def test_idle_connection_ends_cleanly_when_the_worker_stops(app: RouterApp) -> None:
    serving = Serving.of(app)
    assert serving is not None
    near, far = connected()
    wire = Wire(far)
    served = gevent.spawn(serving.serve, near, "192.0.2.1")
    gevent.sleep(0.01)
    serving.keep_no_connection(0.2)
    served.get(timeout=10)
    assert wire.read_to_end() == b""
    wire.close()


def test_other_applications_are_left_to_gunicorn() -> None:
    assert Serving.of(lambda environ, start_response: []) is None


# --- the router's own pages -----------------------------------------------------------------------------------


def page(serving: Serving, raw: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, fields by lower-case name and everything after the head, of an answer that ends its connection."""

    def talk(wire: Wire) -> tuple[int, dict[bytes, bytes], bytes]:
        wire.send(raw)
        head = wire.read_head()
        assert head is not None
        found = {name.lower(): value for name, value in head.fields}
        return int(head.start_line.split()[1]), found, wire.read_to_end()

    return converse(serving, talk)  # type: ignore[no-any-return]  # what `talk` returns


HEALTH = b"GET /__router_health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_own_page_is_a_whole_message(serving: Serving) -> None:
    status, found, body = page(serving, HEALTH)
    assert (status, found[b"connection"], found[b"content-length"]) == (503, b"close", b"%d" % len(body))
    assert found[b"content-type"] == b"application/json"
    assert b"date" in found


def test_own_page_has_no_body_for_head(serving: Serving) -> None:
    status, found, body = page(serving, HEALTH.replace(b"GET", b"HEAD"))
    assert (status, body) == (503, b"")
    assert int(found[b"content-length"]) > 0


def test_own_page_keeps_an_http_1_0_connection_on_request(serving: Serving) -> None:
    raw = b"GET /__router_health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert page(serving, raw)[1][b"connection"] == b"keep-alive"


def streaming(*parts: bytes) -> Callable[[dict[str, Any], Any], Iterator[bytes]]:
    """An application that streams its answer, as the dashboard does."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return iter(parts)

    return application


def test_streamed_page_is_chunked(serving: Serving) -> None:
    serving.wsgi = streaming(b"one", b"", b"two")
    status, found, body = page(serving, HEALTH)
    assert (status, found[b"transfer-encoding"]) == (200, b"chunked")
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def test_streamed_page_for_http_1_0_ends_with_the_connection(serving: Serving) -> None:
    serving.wsgi = streaming(b"one", b"two")
    _, found, body = page(serving, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (found[b"connection"], body) == (b"close", b"onetwo")


def test_empty_streamed_page_is_complete(serving: Serving) -> None:
    serving.wsgi = streaming()
    assert page(serving, HEALTH)[2] == b"0\r\n\r\n"


def test_page_that_is_left_is_closed(serving: Serving) -> None:
    closed = threading.Event()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield bytes(65536)

        def close(self) -> None:
            closed.set()

    def application(environ: dict[str, Any], start_response: Any) -> Endless:
        start_response("200 OK", [])
        return Endless()

    serving.wsgi = application

    def read_a_little(wire: Wire) -> bytes:
        wire.send(HEALTH)
        return wire.read_exactly(1000)

    assert len(converse(serving, read_a_little)) == 1000
    wait_until(closed.is_set, "the page's close()")


def test_unread_body_of_a_page_ends_the_connection(serving: Serving) -> None:
    raw = b"POST /__router_health HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    status, found, _ = page(serving, raw)
    assert (status, found[b"connection"]) == (405, b"close")
