"""Hypothesis against the real router: valid messages pass unchanged, mutated ones never become two."""

from __future__ import annotations

import re
import string

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream, answering, reply
from tests.support.router_process import RouterProcess
from tests.support.wire import Broken, Field, Truncated, fields_block

END_TO_END = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
"""The fixtures are one running router; `renew` makes its upstream fresh for each example."""

TOKEN = "!#$%&'*+-.^`|~" + string.digits + string.ascii_letters

HANDLED = re.compile(
    r"(?i)connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|content-length|host|expect"
    r"|forwarded|x.forwarded.*|x.request.id|via|max-forwards|date"
)
"""Names whose fields are treated specially; what happens to them is shown elsewhere, by name."""

NAMES = st.text(TOKEN, min_size=1, max_size=20).filter(lambda name: not HANDLED.fullmatch(name))
VALUES = st.binary(max_size=40).map(
    lambda value: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", value).strip(b" \t"),
)
FIELDS = st.lists(st.tuples(NAMES.map(str.encode), VALUES), max_size=12)
METHODS = (
    st.text(TOKEN, min_size=1, max_size=12)
    .map(str.encode)
    .filter(lambda method: method not in (b"CONNECT", b"TRACE", b"HEAD", b"PRI"))
)
TARGETS = st.binary(max_size=60).map(lambda path: b"/t" + re.sub(rb"[\x00-\x20\x7f#]", b"", path))
BODIES = st.one_of(st.none(), st.binary(max_size=300), st.binary(min_size=65_000, max_size=70_000))


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body: its decoded bytes and one way to frame them."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
    framed = b"".join(
        draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(chunk) + draw(EXTENSIONS) + b"\r\n" + chunk + b"\r\n"
        for chunk in chunks
    )
    return b"".join(chunks), framed + b"0\r\n\r\n"


EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"'])


def renew(upstream: RawUpstream) -> None:
    """A fresh upstream for the next example; the last one must have seen canonical messages only."""
    assert upstream.faults == []
    upstream.reset()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places modulo its length."""
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in zip(marks, marks[1:], strict=False)]


@END_TO_END
@given(METHODS, TARGETS, FIELDS, BODIES, st.lists(st.integers(0, 100_000), max_size=4))
def test_any_valid_request_arrives_unchanged(
    router: RouterProcess,
    upstream: RawUpstream,
    method: bytes,
    target: bytes,
    fields: list[Field],
    body: bytes | None,
    cuts: list[int],
) -> None:
    renew(upstream)
    framing = [] if body is None else [(b"Content-Length", b"%d" % len(body))]
    sent = [(b"Host", b"x.test"), *fields, *framing]
    raw = method + b" " + target + b" HTTP/1.1\r\n" + fields_block(sent) + b"\r\n" + (body or b"")
    with router.connect() as client:
        for piece in cut(raw, cuts):
            client.send(piece)
        assert client.read_response().status == 200
    arrived = upstream.only
    assert (arrived.method, arrived.target, arrived.body) == (method, target, body or b"")
    assert list(arrived.head.fields[: len(sent)]) == sent
    assert len(arrived.head.fields) == len(sent) + 6


@END_TO_END
@given(chunked(), FIELDS, st.lists(st.integers(0, 10_000), max_size=4))
def test_any_valid_chunked_body_arrives_unchanged(
    router: RouterProcess,
    upstream: RawUpstream,
    body: tuple[bytes, bytes],
    fields: list[Field],
    cuts: list[int],
) -> None:
    renew(upstream)
    decoded, framed = body
    head = b"POST /c HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n" + fields_block(fields) + b"\r\n"
    with router.connect() as client:
        for piece in cut(head + framed, cuts):
            client.send(piece)
        assert client.read_response().status == 200
    assert upstream.only.body == decoded


@END_TO_END
@given(
    st.integers(200, 599).filter(lambda status: status not in (204, 304)),
    st.text(string.ascii_letters + " ", max_size=20).map(lambda text: text.strip().encode()),
    FIELDS,
    st.one_of(st.binary(max_size=300), chunked()),
)
def test_any_valid_answer_reaches_the_client_unchanged(
    router: RouterProcess,
    upstream: RawUpstream,
    status: int,
    reason: bytes,
    fields: list[Field],
    body: bytes | tuple[bytes, bytes],
) -> None:
    renew(upstream)
    if isinstance(body, bytes):
        decoded, framed, framing = body, body, (b"Content-Length", b"%d" % len(body))
    else:
        (decoded, framed), framing = body, (b"Transfer-Encoding", b"chunked")
    head = b"HTTP/1.1 %d " % status + reason + b"\r\n" + fields_block([*fields, framing]) + b"\r\n"
    upstream.answers(head + framed)
    answer = router.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
    assert (answer.status, answer.reason, answer.body) == (status, reason, decoded)
    assert list(answer.head.fields[: len(fields)]) == fields
    assert answer.value(framing[0]) == framing[1]


HIDDEN = b"GET /two HTTP/1.1\r\nHost: x.test\r\n\r\n"
POST = b"POST /one HTTP/1.1\r\nHost: x.test\r\n"
SEEDS = (
    POST + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n",
    POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(HIDDEN) + 5) + HIDDEN,
    POST + b"Content-Length : %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
)
SPICE = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b"\x85",
        b":",
        b";",
        b",",
        b"0",
        b"1",
        b"f",
        b"-",
        b"+",
    ]
    + [
        b"chunked",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: x\r\n",
        b"",
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), SPICE), min_size=1, max_size=3)


def edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The seed with bytes at some places replaced, put in or taken out."""
    for place, taken, put in edits:
        at = place % len(seed)
        seed = seed[:at] + put + seed[at + taken :]
    return seed


QUIET_S = 0.1
"""Without an answer for so long, the router waits for the rest of what it takes for one request."""


@settings(END_TO_END, max_examples=250)
@given(st.sampled_from(SEEDS), EDITS)
@example(SEEDS[0], [(0, 0, b"")])
@example(SEEDS[1], [(0, 0, b"")])
@example(SEEDS[2], [(0, 0, b"")])
@example(SEEDS[3], [(0, 0, b"")])
def test_mutated_framing_never_shows_the_upstream_more_requests_than_were_answered(
    router: RouterProcess, upstream: RawUpstream, seed: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    """The upstream reads strictly, so that anything ambiguous there is a fault by itself."""
    renew(upstream)
    statuses: list[int] = []
    with router.connect() as client:
        client.send(edited(seed, edits))
        is_open = True
        while is_open and (client.has_bytes(QUIET_S) or completed(upstream) > statuses.count(200)):
            is_open = read_answer(client, statuses)
        assert completed(upstream) == statuses.count(200)
    assert upstream.faults == []
    assert set(statuses) <= {200, 400, 405, 414, 431, 505}


def completed(upstream: RawUpstream) -> int:
    """How many whole requests the upstream has read."""
    return sum(exchange.is_complete for exchange in upstream.exchanges)


def read_answer(client: RawClient, statuses: list[int]) -> bool:
    """Add the next answer's status; False when the router has closed instead."""
    try:
        statuses.append(client.read_response().status)
    except ConnectionError:
        return False
    return True


BAD_HEADS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), SPICE), min_size=1, max_size=3)


@settings(END_TO_END, max_examples=200)
@given(BAD_HEADS)
def test_mutated_answer_never_confuses_the_next_client(
    router: RouterProcess, upstream: RawUpstream, edits: list[tuple[int, int, bytes]]
) -> None:
    renew(upstream)
    seed = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-A: b\r\n\r\npoison"
    mutated = edited(seed, edits)
    upstream.answers_in_turn(answering(mutated, then_close=True), answering(reply(b"clean")))
    try:
        router.ask(b"POST /first HTTP/1.1\r\nHost: x.test\r\nContent-Length: 0\r\n\r\n")
    except Broken as error:
        raise AssertionError(f"{mutated!r} made the router send something broken: {error}") from error
    except (Truncated, ConnectionError):
        pass  # rightly: the answer was cut
    assert router.ask(b"GET /second HTTP/1.1\r\nHost: x.test\r\n\r\n").body == b"clean"
