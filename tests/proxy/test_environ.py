"""Between WSGI and our own request, both ways."""

from __future__ import annotations

import io
from typing import Any

import pytest

from app.errors import BodyTooLarge, ClientDisconnected, MalformedRequest, RouterError
from app.proxy.client_request import InputBody
from app.proxy.environ import REQUEST_KEY, request_from_wsgi, wsgi_environ
from app.settings.tables.router_settings import RouterConfig
from tests.proxy.flying import Flying

# --- our request as an environ --------------------------------------------------------------------------------


def environ_of(flying: Flying, raw: bytes) -> dict[str, Any]:
    """The environ for a page of ours."""
    request, _ = flying.request(raw)
    environ = wsgi_environ(request, flying.config)
    assert environ[REQUEST_KEY] is request
    return environ


def test_environ_for_our_own_pages(flying: Flying) -> None:
    environ = environ_of(
        flying,
        b"GET /__router_x%20y?a=b%20c HTTP/1.1\r\nHost: x\r\nAccept: a \r\nAccept: b\r\nContent-Type: t\r\n\r\n",
    )
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/__router_x y",
        "QUERY_STRING": "a=b%20c",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_PORT": "5004",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "x",
        "HTTP_ACCEPT": "a,b",
        "CONTENT_TYPE": "t",
        "wsgi.url_scheme": "http",
    }
    assert {name: environ[name] for name in expected} == expected
    assert environ["wsgi.input"].read() == b""


def test_body_that_came_with_the_head_is_in_the_environ(flying: Flying) -> None:
    environ = environ_of(flying, b"POST /__router_x HTTP/1.0\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert (environ["wsgi.input"].read(), environ["CONTENT_LENGTH"]) == (b"abc", "3")
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_chunked_body_is_not_for_our_own_pages(flying: Flying) -> None:
    raw = b"POST /__router_x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    assert environ_of(flying, raw)["wsgi.input"].read() == b""


# --- an environ as our request --------------------------------------------------------------------------------


def stock(**given: Any) -> dict[str, Any]:
    """The environ of a stock gunicorn worker."""
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/a?b",
        "PATH_INFO": "/a",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "x.test",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    return environ | given


def test_request_of_a_stock_worker() -> None:
    request = request_from_wsgi(stock(HTTP_USER_AGENT="u\xe9", CONTENT_TYPE="t", CONTENT_LENGTH=""), RouterConfig())
    assert (request.head.method, request.head.target) == (b"GET", b"/a?b")
    assert request.head.fields == [(b"Host", b"x.test"), (b"User-Agent", b"u\xe9"), (b"Content-Type", b"t")]
    assert (request.endpoint, request.body, request.client_address) == (None, None, "192.0.2.1")


def test_path_stands_in_for_a_missing_raw_target() -> None:
    assert request_from_wsgi(stock(RAW_URI=""), RouterConfig()).head.target == b"/a"


def test_unix_socket_has_no_address() -> None:
    assert request_from_wsgi(stock(REMOTE_ADDR=""), RouterConfig()).client_address == "127.0.0.1"


def test_body_of_a_stock_worker_is_read_from_its_input() -> None:
    request = request_from_wsgi(
        stock(REQUEST_METHOD="POST", CONTENT_LENGTH="3", **{"wsgi.input": io.BytesIO(b"abc")}), RouterConfig()
    )
    assert isinstance(request.body, InputBody)
    assert (request.body.take(), request.body.size) == (b"abc", 3)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"HTTP_HOST": "a b"}, 400),
        ({"RAW_URI": "/a b"}, 400),
        ({"REQUEST_METHOD": "CONNECT"}, 405),
        ({"SERVER_PROTOCOL": "HTTP/2.0"}, 505),
        ({"HTTP_X": "a\r\nHost: y"}, 400),
    ],
)
def test_same_rules_as_in_our_own_worker(given: dict[str, str], status: int) -> None:
    with pytest.raises(RouterError) as caught:
        request_from_wsgi(stock(**given), RouterConfig())
    assert caught.value.status == status


# --- its body -------------------------------------------------------------------------------------------------


def taken(body: InputBody) -> list[bytes]:
    """All parts of a body."""
    parts = [body.take_buffered()]
    while not body.complete:
        parts.append(body.take())
    return parts


def test_body_of_known_length_passes_as_it_is() -> None:
    parts = iter([b"ab", b"c", b""])
    body = InputBody(lambda size: next(parts), False, 0)
    assert taken(body) == [b"", b"ab", b"c", b""]
    assert body.size == 3


def test_chunked_body_is_framed_anew() -> None:
    parts = iter([b"ab", b""])
    assert taken(InputBody(lambda size: next(parts), True, 0)) == [b"", b"2\r\nab\r\n", b"0\r\n\r\n"]


def test_body_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        taken(InputBody(lambda size: b"abcd", True, 10))


def test_client_that_breaks_off_is_said_to_have_left() -> None:
    def broken(size: int) -> bytes:
        raise ConnectionResetError

    with pytest.raises(ClientDisconnected):
        taken(InputBody(broken, False, 0))


def test_malformed_request_is_ours_to_refuse() -> None:
    with pytest.raises(MalformedRequest):
        request_from_wsgi(stock(HTTP_HOST=""), RouterConfig()) and request_from_wsgi(
            {**stock(), "SERVER_PROTOCOL": "HTTP/1"}, RouterConfig()
        )
