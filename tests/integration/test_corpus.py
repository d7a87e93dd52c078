"""Every raw message of `tests/corpus`, sent through a real router to a raw upstream and back."""

from __future__ import annotations

import pytest

from tests.corpus import Case, load
from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream
from tests.support.router_process import RouterProcess
from tests.support.wire import Field, Truncated, parse_head

ADDED_TO_REQUESTS = [
    "X-Forwarded-For",
    "X-Real-IP",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Request-ID",
]
ADDED_TO_ANSWERS = {b"x-request-id", b"date"}
"""RFC 9110 §6.6.1 asks a gateway to add a missing Date; both follow the answer's own fields."""

SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: x.test\r\n\r\n"


def cases(folder: str) -> list[object]:
    """The folder's cases as pytest parameters named like their files."""
    return [pytest.param(case, id=case.name) for case in load(folder)]


def answers_of(folder: str, outcome: str) -> list[object]:
    """The cases with that outcome."""
    return [pytest.param(case, id=case.name) for case in load(folder) if case.expected["outcome"] == outcome]


def without(fields: tuple[Field, ...], names: list[str]) -> list[Field]:
    """The fields that are not named."""
    unwanted = {name.lower().encode() for name in names}
    return [(name, value) for name, value in fields if name.lower() not in unwanted]


@pytest.mark.parametrize("case", cases("requests/refused"))
def test_refused_request_never_reaches_the_upstream(case: Case, router: RouterProcess, upstream: RawUpstream) -> None:
    with router.connect() as client:
        client.send(case.raw)
        answer = client.read_response()
        assert answer.status == case.expected.get("status", 400)
        assert answer.value(b"X-Router-Cause") == case.expected.get("cause", "malformed_request").encode()
        assert answer.value(b"Connection") == b"close"
        client.how_it_ends()
    # The same worker serves this one later: anything of the refused request has arrived by now.
    assert router.ask(SENTINEL).status == 200
    complete = [exchange.target for exchange in upstream.exchanges if exchange.is_complete]
    assert complete == [b"/sentinel"]


@pytest.mark.parametrize("case", cases("requests/forwarded"))
def test_forwarded_request_arrives_as_it_was_sent(case: Case, router: RouterProcess, upstream: RawUpstream) -> None:
    expected = case.expected
    count = expected.get("requests", 1)
    with router.connect() as client:
        client.send(case.raw)
        answers = [client.read_response(case.raw.lstrip().split(b" ", 1)[0]) for _ in range(count)]
        assert [answer.status for answer in answers] == [200] * count
        if "then" in expected:
            assert client.read_response().status == expected["then"]
        if "then" in expected or expected.get("close"):
            assert client.how_it_ends() == "closed"
    assert len(upstream.exchanges) == count
    if count == 1:
        arrived(upstream.only, case)
    else:
        targets = [exchange.target for exchange in upstream.exchanges]
        assert targets == [target for target in (b"/", b"/1", b"/2", b"/3") if target in targets]


def arrived(exchange: Exchange, case: Case) -> None:
    """Compare what came in at the upstream with what the file says was sent."""
    sent = parse_head(case.raw.lstrip().partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    method, target, _ = sent.start_line.split(b" ")
    assert (exchange.method, exchange.target) == (method, target)
    respelled = case.expected.get("respelled", [])
    names = [name for name, _ in respelled]
    fields = without(sent.fields, case.expected.get("removed", []) + names)
    assert without(exchange.head.fields, [*names, *ADDED_TO_REQUESTS]) == fields
    assert [name for name in exchange.head.names() if name.decode() not in names][-len(ADDED_TO_REQUESTS) :] == [
        name.encode() for name in ADDED_TO_REQUESTS
    ]
    for name, value in respelled:
        assert exchange.head.value(name.encode()) == value.encode()
    if "body" in case.expected:
        assert exchange.body == case.expected["body"].encode("latin-1")
    trailers = [(name.encode(), value.encode("latin-1")) for name, value in case.expected.get("trailers", [])]
    assert list(exchange.trailers) == trailers


def request_for(case: Case) -> bytes:
    """A request of the case's method."""
    method: str = case.expected.get("method", "GET")
    return method.encode() + b" /answer HTTP/1.1\r\nHost: x.test\r\n\r\n"


def own_fields(response: Response, framing_of_ours: bool) -> list[Field]:
    """The answer's fields without what the router adds at the end or replaces by its own framing."""
    return [
        (name, value)
        for name, value in response.head.fields
        if name.lower() not in ADDED_TO_ANSWERS | ({b"transfer-encoding"} if framing_of_ours else set())
    ]


@pytest.mark.parametrize("case", answers_of("responses", "forwarded"))
def test_answer_reaches_the_client_as_it_was_given(case: Case, router: RouterProcess, upstream: RawUpstream) -> None:
    expected = case.expected
    upstream.answers(case.raw, then_close=expected.get("close", False))
    with router.connect() as client:
        answer = client.ask(request_for(case))
    heads = case.raw.split(b"\r\n\r\n")
    given = parse_head(heads[len(expected.get("interim", []))] + b"\r\n\r\n")
    assert answer.head.start_line.split(b" ", 1)[1].rstrip() == given.start_line.split(b" ", 1)[1].rstrip()
    assert answer.version == b"HTTP/1.1"
    assert answer.framing == expected.get("framing", "length")
    was_unframed = not given.values(b"Transfer-Encoding") and answer.framing == "chunked"
    kept = [field for field in without(given.fields, expected.get("removed", [])) if field[0].lower() != b"date"]
    assert own_fields(answer, was_unframed) == kept
    assert answer.head.values(b"Date")[: len(given.values(b"Date"))] == given.values(b"Date")
    assert answer.body == expected["body"].encode("latin-1")
    assert [head.start_line.decode() for head in answer.interim] == expected.get("interim", [])
    trailers = [(name.encode(), value.encode("latin-1")) for name, value in expected.get("trailers", [])]
    assert list(answer.trailers) == trailers


@pytest.mark.parametrize("case", answers_of("responses", "bad-gateway"))
def test_bad_answer_becomes_502_and_its_connection_is_thrown_away(
    case: Case, router: RouterProcess, upstream: RawUpstream
) -> None:
    upstream.answers(case.raw, then_close=case.expected.get("close", False))
    with router.connect() as client:
        answer = client.ask(b"POST /bad HTTP/1.1\r\nHost: x.test\r\nContent-Length: 0\r\n\r\n")
        assert (answer.status, answer.body) == (502, b"Bad gateway")
        assert answer.value(b"X-Router-Cause") == case.expected.get("cause", "bad_answer").encode()
    assert upstream.connections[0].ended.wait(5)


@pytest.mark.parametrize("case", answers_of("responses", "truncated"))
def test_broken_off_answer_is_never_a_clean_end(case: Case, router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(case.raw, then_close=case.expected.get("close", False))
    with router.connect() as client:
        client.send(request_for(case))
        with pytest.raises((Truncated, ConnectionResetError)):
            client.read_response()
    assert upstream.only.connection.ended.wait(5)
