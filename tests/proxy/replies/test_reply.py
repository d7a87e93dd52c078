"""The router's own answers: text, page or JSON as the client prefers, with cause and request id."""

from __future__ import annotations

import json

import pytest

from app import errors
from app.errors import NoActiveVersion, RouterError, UnderMaintenance, UpstreamConnectError
from app.protocol.request import RequestHead, RequestParser
from app.proxy.replies.reply import error_reply

ALL_ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RouterError)]


def head(accept: bytes | None = None) -> RequestHead:
    """A request that accepts this."""
    lines = b"" if accept is None else b"Accept: " + accept + b"\r\n"
    return RequestParser(200).parse(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "text/plain; charset=utf-8"),
        (b"*/*", "text/plain; charset=utf-8"),
        (b"", "text/plain; charset=utf-8"),
        (b"image/png", "text/plain; charset=utf-8"),
        (b"nonsense", "text/plain; charset=utf-8"),
        (b"text/*", "text/plain; charset=utf-8"),
        (b"text/html", "text/html; charset=utf-8"),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        (b"application/json", "application/json"),
        (b"text/html;q=0.5, application/json", "application/json"),
        (b"application/json;q=0.1, text/plain;q=0.2", "text/plain; charset=utf-8"),
    ],
)
def test_client_gets_the_media_type_that_it_likes_best(accept: bytes | None, media: str) -> None:
    _, fields, body = error_reply(NoActiveVersion(), head(accept), "", b"id-1", True)
    assert dict(fields)["Content-Type"] == media
    assert dict(fields)["Content-Length"] == str(len(body))


def test_repeated_accept_fields_are_one_list() -> None:
    both = RequestParser(200).parse(
        b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/plain;q=0.1\r\nAccept: text/html\r\n\r\n"
    )
    assert dict(error_reply(NoActiveVersion(), both, "", b"x", True).fields)["Content-Type"].startswith("text/html")


def test_unreadable_request_is_answered_in_text() -> None:
    assert error_reply(NoActiveVersion(), None, "", b"x", True).body == b"No active backend available"


@pytest.mark.parametrize(("version", "shown"), [("blue", "blue"), ("", None)])
def test_program_gets_everything_as_json(version: str, shown: str | None) -> None:
    _, _, body = error_reply(UpstreamConnectError("secret detail"), head(b"application/json"), version, b"id-1", True)
    assert json.loads(body) == {
        "error": "Bad gateway",
        "status": 502,
        "cause": "connect_refused",
        "version": shown,
        "request_id": "id-1",
    }


@pytest.mark.parametrize("accept", [b"text/plain", b"text/html", b"application/json"])
def test_detail_of_the_error_is_for_the_log_only(accept: bytes) -> None:
    _, fields, body = error_reply(UpstreamConnectError("secret detail"), head(accept), "blue", b"id-1", True)
    assert "secret" not in str(fields) + body.decode()


def test_page_names_cause_and_request_and_escapes_them() -> None:
    _, _, body = error_reply(UpstreamConnectError(), head(b"text/html"), "blue", b"<id>", True)
    assert b"connect_refused" in body
    assert b"&lt;id&gt;" in body
    assert b"<id>" not in body


@pytest.mark.parametrize(
    ("retry_after_s", "soon"),
    [(5, "a few seconds"), (60, "a minute"), (120, "2 minutes"), (600, "10 minutes"), (7200, "2 hours")],
)
def test_page_says_when_to_come_again_as_retry_after_does(retry_after_s: int, soon: str) -> None:
    _, _, body = error_reply(UnderMaintenance("Back soon", retry_after_s), head(b"text/html"), "", b"x", True)
    assert f"try again in {soon}.".encode() in body


@pytest.mark.parametrize("error", ALL_ERRORS, ids=lambda error: error.__name__)
def test_every_error_says_what_it_is(error: type[RouterError]) -> None:
    fields = dict(error_reply(error("detail"), head(), "green", b"id-1", True).fields)
    assert fields["X-Router-Cause"] == error.cause
    assert fields["X-Request-ID"] == "id-1"
    assert fields["Cache-Control"] == "no-store"
    assert fields.get("Retry-After") == (None if error.retry_after_s is None else str(error.retry_after_s))


@pytest.mark.parametrize(
    "error", [error for error in ALL_ERRORS if error.status != 499], ids=lambda error: error.__name__
)
def test_status_line_has_a_phrase(error: type[RouterError]) -> None:
    status, _, phrase = error_reply(error(), None, "", b"", True).status_line.partition(" ")
    assert (status, bool(phrase)) == (str(error.status), True)
