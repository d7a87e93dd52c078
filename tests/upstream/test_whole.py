"""Whole messages for plain Python: a request composed from values, an answer read to its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.request import RequestParser
from app.transport.limits import TimeLimit
from app.upstream.whole import compose, read_whole
from tests.protocol.messages import fields, methods, targets
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.wire import Field
from tests.upstream.sessions import blocking_session, plain

AUTHORITY = b"127.0.0.1:5005"


@pytest.mark.parametrize(
    ("headers", "body", "sent"),
    [
        pytest.param({"Host": "x", "A": "1"}, None, b"Host: x\r\nA: 1\r\n", id="mapping"),
        pytest.param([("a", "1"), ("A", "2"), ("hOsT", "x")], None, b"a: 1\r\nA: 2\r\nhOsT: x\r\n", id="pairs"),
        pytest.param({}, None, b"Host: 127.0.0.1:5005\r\n", id="missing-host"),
        pytest.param({"Host": "x"}, b"abc", b"Host: x\r\nContent-Length: 3\r\n", id="body"),
        pytest.param({"Host": "x"}, b"", b"Host: x\r\nContent-Length: 0\r\n", id="empty-body"),
        pytest.param(
            {"Host": "x", "Content-Length": "99", "Transfer-Encoding": "chunked", "Connection": "close"},
            b"abc",
            b"Host: x\r\nContent-Length: 3\r\n",
            id="framing-follows-from-the-body",
        ),
        pytest.param({"Host": "x", "A": "\xe9"}, None, b"Host: x\r\nA: \xe9\r\n", id="latin-1"),
    ],
)
def test_head_is_composed(headers: dict[str, str], body: bytes | None, sent: bytes) -> None:
    assert compose("PUT", "/a?b", headers, body, AUTHORITY) == b"PUT /a?b HTTP/1.1\r\n" + sent + b"\r\n"


@given(methods, targets, fields, st.none() | st.binary(max_size=20))
def test_composed_head_says_what_it_was_made_of(
    method: bytes, target: bytes, pairs: list[Field], body: bytes | None
) -> None:
    texts = [(name.decode(), value.decode("latin-1")) for name, value in [(b"Host", b"x"), *pairs]]
    raw = compose(method.decode(), target.decode("latin-1"), texts, body, AUTHORITY)
    head = RequestParser(200).parse(raw)
    assert (head.method, head.target) == (method, target)
    assert [field for field in head.fields if field[0] != b"Content-Length"] == [(b"Host", b"x"), *pairs]
    assert head.content_length == (None if body is None else len(body))


def test_answer_is_read_whole() -> None:
    with RawUpstream() as upstream:
        upstream.answers(
            reply(bytes(200_000), b"201 Created", [(b"Set-Cookie", b"a"), (b"X", b"\xe9"), (b"set-cookie", b"b")])
        )
        answer = blocking_session(upstream.port).send(plain(upstream.port))
        status, found, body = read_whole(answer, TimeLimit(10))
    assert (status, body) == (201, bytes(200_000))
    assert (found.getlist("Set-Cookie"), found["x"]) == (["a", "b"], "\xe9")


def test_hop_by_hop_fields_of_the_answer_are_left_out() -> None:
    with RawUpstream() as upstream:
        upstream.answers(reply(b"x", fields=[(b"Connection", b"X-Hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"5")]))
        _, found, _ = read_whole(blocking_session(upstream.port).send(plain(upstream.port)), TimeLimit(10))
    assert list(found) == ["Content-Length"]
