"""Event boundaries, whatever the line ends and the parts that the bytes come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.request import RequestParser
from app.protocol.response import ResponseParser
from app.protocol.server_sent_events import EventTracker, is_event_stream, may_end_early


@pytest.mark.parametrize(
    ("data", "is_boundary"),
    [
        (b"", True),
        (b"data: a", False),
        (b"data: a\n", False),
        (b"data: a\r\n", False),
        (b"data: a\n\n", True),
        (b"data: a\r\r", True),
        (b"data: a\r\n\r\n", True),
        (b"data: a\n\r\n", True),
        (b"data: a\r\n\n", True),
        (b"data: a\n\n\n", True),
        (b"data: a\n\nd", False),
        (b": keep-alive\n\n", True),
    ],
)
def test_stream_is_at_a_boundary_after_an_empty_line(data: bytes, is_boundary: bool) -> None:
    tracker = EventTracker()
    tracker.feed(data)
    assert tracker.at_boundary is is_boundary


@pytest.mark.parametrize(
    ("before", "data", "end"),
    [
        (b"", b"data", 0),
        (b"data: a\n\n", b"data", 0),
        (b"data: a", b"bc\n\ndata: d\n\n", 4),
        (b"data: a\n", b"\ndata: d", 1),
        (b"data: a\r\n\r", b"\n", 0),
        (b"data: a\r\n", b"\r\nx", 2),
        (b"data: a\r", b"\nx\r\n\r\nrest", 6),
        (b"data: a", b"bcd\n", -1),
        (b"data: a", b"", -1),
    ],
)
def test_end_of_the_event_under_way_is_found_ahead(before: bytes, data: bytes, end: int) -> None:
    tracker = EventTracker()
    tracker.feed(before)
    assert tracker.end_in(data) == end


@given(st.text("ab:\n\r", max_size=80).map(str.encode), st.lists(st.integers(1, 6), max_size=40))
def test_any_split_gives_the_same_boundaries(data: bytes, cuts: list[int]) -> None:
    tracker = EventTracker()
    at = 0
    for cut in [*cuts, len(data) + 1]:
        tracker.feed(data[at : at + cut])
        at += cut
        whole = EventTracker()
        whole.feed(data[:at])
        assert tracker.at_boundary == whole.at_boundary


@given(st.text("ab:\n\r", min_size=1, max_size=40).map(str.encode), st.text("ab\n\r", max_size=40).map(str.encode))
def test_what_is_cut_ahead_ends_at_a_boundary(before: bytes, data: bytes) -> None:
    tracker = EventTracker()
    tracker.feed(before)
    end = tracker.end_in(data)
    if end >= 0:
        tracker.feed(data[:end])
        assert tracker.at_boundary


@pytest.mark.parametrize(
    ("fields", "is_one"),
    [
        (b"Content-Type: text/event-stream\r\n", True),
        (b"content-type: Text/Event-Stream; charset=utf-8\r\n", True),
        (b"Content-Type: text/html\r\n", False),
        (b"", False),
        (b"Content-Encoding: gzip\r\nContent-Type: text/event-stream\r\n", False),
    ],
)
def test_event_streams_are_known_by_their_type(fields: bytes, is_one: bool) -> None:
    raw = b"HTTP/1.1 200 OK\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n"
    assert is_event_stream(ResponseParser().parse(raw, b"GET")) is is_one


EVENT_SOURCE = b"Accept: text/event-stream\r\nCache-Control: no-cache\r\n"
CHROMIUM = EVENT_SOURCE + b"Pragma: no-cache\r\nSec-Fetch-Mode: cors\r\nAccept-Language: en-US,en;q=0.9\r\n"
NODE_FETCH = b"accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n"


@pytest.mark.parametrize(
    ("method", "fields", "status", "may"),
    [
        pytest.param(b"GET", CHROMIUM, b"200 OK", True, id="EventSource of a browser"),
        pytest.param(b"GET", EVENT_SOURCE + NODE_FETCH, b"200 OK", True, id="EventSource from npm"),
        pytest.param(b"GET", EVENT_SOURCE + b"Authorization: Bearer x\r\n", b"200 OK", True, id="one with a token"),
        pytest.param(b"GET", CHROMIUM + b"Last-Event-ID: 7\r\n", b"200 OK", True, id="one that has come back"),
        pytest.param(b"GET", b"Accept: text/event-stream\r\n", b"200 OK", True, id="the simplest"),
        pytest.param(b"GET", b"accept: Text/Event-Stream;q=1\r\n", b"200 OK", True, id="in other letters"),
        pytest.param(b"GET", b"Accept: text/event-stream\r\nCache-Control: max-age=0, No-Cache\r\n", b"200 OK", True),
        pytest.param(b"POST", EVENT_SOURCE, b"200 OK", False, id="POST"),
        pytest.param(b"get", EVENT_SOURCE, b"200 OK", False, id="another method"),
        pytest.param(b"GET", EVENT_SOURCE, b"201 Created", False, id="another status"),
        pytest.param(b"GET", b"", b"200 OK", False, id="no Accept"),
        pytest.param(b"GET", b"Accept: */*\r\n", b"200 OK", False, id="gradio_client"),
        pytest.param(b"GET", b"Accept: application/json, text/event-stream\r\n", b"200 OK", False, id="mcp"),
        pytest.param(b"GET", EVENT_SOURCE + b"Accept: text/html\r\n", b"200 OK", False, id="two Accept"),
        pytest.param(
            b"GET", b"Accept: text/event-stream;q=1, application/json;q=0.5\r\n", b"200 OK", False, id="the better one"
        ),
        pytest.param(
            b"GET", b"Accept: text/event-stream;q=1\r\nAccept: */*\r\n", b"200 OK", False, id="the better of two lines"
        ),
        pytest.param(b"GET", EVENT_SOURCE + b"Content-Length: 2\r\n", b"200 OK", False, id="with a body"),
        pytest.param(b"GET", EVENT_SOURCE + b"Transfer-Encoding: chunked\r\n", b"200 OK", False, id="in chunks"),
        pytest.param(b"GET", EVENT_SOURCE + b"Content-Length: 0\r\n", b"200 OK", True, id="with an empty body"),
        pytest.param(b"GET", CHROMIUM + b"Content-Type: application/json\r\n", b"200 OK", False, id="Gradio's page"),
        pytest.param(b"GET", b"Accept: text/event-stream\r\n" + NODE_FETCH, b"200 OK", False, id="fetch"),
        pytest.param(
            b"GET", b"Accept: text/event-stream\r\nAuthorization: Bearer x\r\n", b"200 OK", False, id="openai"
        ),
        pytest.param(
            b"GET", b"Accept: text/event-stream\r\nCache-Control: no-store\r\n", b"200 OK", False, id="httpx2"
        ),
    ],
)
def test_only_the_stream_of_an_event_source_may_end_early(
    method: bytes, fields: bytes, status: bytes, may: bool
) -> None:
    asked = RequestParser(100).parse(method + b" / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/event-stream\r\n%b\r\n"
    assert may_end_early(asked, ResponseParser().parse(head % b"", method)) is may
    assert not may_end_early(asked, ResponseParser().parse(head % b"Content-Encoding: br\r\n", method))
