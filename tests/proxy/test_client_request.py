"""A request's body as it arrives on a client's connection, framed for the upstream."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app.errors import BodyTooLarge, ClientDisconnected, MalformedRequest, RouterError
from app.protocol.request import RequestParser
from app.proxy.client_request import ClientBody
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint
from tests.transport.loopback import endpoint_and_peer, reset

PATIENT_S = 10
LENGTH_5 = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[Endpoint, socket.socket]]:
    with endpoint_and_peer() as both:
        yield both


def body_on(endpoint: Endpoint, lines: bytes, max_bytes: int = 0, rate_floor: int = 100) -> ClientBody:
    """The body that these field lines announce."""
    head = RequestParser(200).parse(b"POST / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    return ClientBody(endpoint, head, max_bytes, rate_floor)


def take_next(body: ClientBody) -> bytes:
    """Waits for bytes and takes them."""
    body.client.wait_readable(Deadlines(PATIENT_S))
    return body.take()


def test_nothing_is_taken_before_something_arrives(pair: tuple[Endpoint, socket.socket]) -> None:
    body = body_on(pair[0], LENGTH_5)
    assert (body.take_buffered(), body.take(), body.complete, body.size) == (b"", b"", False, 0)


def test_body_of_known_length_passes_as_it_arrives(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    body = body_on(endpoint, LENGTH_5)
    peer.sendall(b"ab")
    assert (take_next(body), body.complete) == (b"ab", False)
    peer.sendall(b"cdeGET")
    assert (take_next(body), body.complete, body.size) == (b"cde", True, 5)
    assert endpoint.buffered == b"GET"


def test_what_came_with_the_head_is_taken_first(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    endpoint.buffered = b"ab"
    peer.sendall(b"cde")
    body = body_on(endpoint, LENGTH_5)
    assert [body.take(), take_next(body)] == [b"ab", b"cde"]


def test_chunks_are_framed_anew(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    body = body_on(endpoint, CHUNKED)
    peer.sendall(b"2;x=y\r\nab\r\n1\r\nc")
    assert take_next(body) == b"3\r\nabc\r\n"
    peer.sendall(b"\r\n0\r\nX-Sum: 3\r\nHost: evil\r\n\r\nGET")
    assert (take_next(body), body.complete, body.size) == (b"0\r\nX-Sum: 3\r\n\r\n", True, 3)
    assert endpoint.buffered == b"GET"


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"zz\r\n", MalformedRequest), (b"0\r\nA : 1\r\n\r\n", MalformedRequest), (b"4\r\nabcd\r\n", BodyTooLarge)],
    ids=["bad-size", "bad-trailer", "too-long"],
)
def test_chunks_are_refused(pair: tuple[Endpoint, socket.socket], data: bytes, error: type[RouterError]) -> None:
    endpoint, peer = pair
    peer.sendall(data)
    with pytest.raises(error):
        take_next(body_on(endpoint, CHUNKED, max_bytes=3))


def test_chunked_body_of_the_greatest_length_passes(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    peer.sendall(b"3\r\nabc\r\n0\r\n\r\n")
    body = body_on(endpoint, CHUNKED, max_bytes=3)
    assert take_next(body) == b"3\r\nabc\r\n0\r\n\r\n"


def test_client_that_closes_in_mid_body_has_left(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    peer.close()
    with pytest.raises(ClientDisconnected, match="closed"):
        take_next(body_on(endpoint, LENGTH_5))


def test_client_that_resets_in_mid_body_has_left(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    reset(peer)
    with pytest.raises(ClientDisconnected, match="broke"):
        take_next(body_on(endpoint, LENGTH_5))


def test_slowness_does_not_count_before_its_grace_is_over(pair: tuple[Endpoint, socket.socket]) -> None:
    endpoint, peer = pair
    body = body_on(endpoint, LENGTH_5, rate_floor=1_000_000)
    for letter in (b"a", b"b", b"c"):
        peer.sendall(letter)
        assert take_next(body) == letter
