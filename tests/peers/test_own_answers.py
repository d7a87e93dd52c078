"""Every answer of the router itself, judged by httplint."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import RouterError
from tests.integration.own_answers import OWN_ANSWER_SETTINGS, own_answers
from tests.peers.peers import PEERS_PYTHON
from tests.proxy.flying import Flying
from tests.support.raw_client import Response
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import running_router

Answer = tuple[str, str, str, list[tuple[str, str]], str]

NO_FAULTS = {
    # What the status says is what we mean.
    "The server didn't understand the request.",
    "The server won't accept a URI this long (14 characters).",
    "The request HTTP version isn't supported.",
    # One for each path that it is for.
    "This response sets duplicate cookies.",
}
"""What httplint says that nothing is to be done about."""


def as_text(name: str, method: str, answer: Response) -> Answer:
    """An answer as the linter's program takes it."""
    fields = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in answer.head.fields]
    return name, method, answer.head.start_line.decode("latin-1"), fields, answer.body.decode("latin-1")


def lint(answers: list[Answer]) -> list[tuple[str, str, str]]:
    """(name, level, words) for each remark about one of them."""
    program = Path(__file__).with_name("lint.py")
    result = subprocess.run(
        [PEERS_PYTHON, program], input=json.dumps(answers), capture_output=True, text=True, check=True
    )
    return [tuple(remark) for remark in json.loads(result.stdout)]


def faults(answers: list[Answer]) -> list[tuple[str, str, str]]:
    """The remarks that are more than praise."""
    return [found for found in lint(answers) if found[1] in ("bad", "warning") and found[2] not in NO_FAULTS]


def children(cls: type[RouterError]) -> Iterator[type[RouterError]]:
    """All classes of errors that clients see."""
    yield cls
    for child in cls.__subclasses__():
        yield from children(child)


def test_linter_finds_what_is_missing() -> None:
    bare: Answer = ("bare", "GET", "HTTP/1.1 405 Method Not Allowed", [("Content-Length", "1")], "x")
    assert "This response doesn't have a Date header." in [words for _, _, words in faults([bare])]


def test_answers_of_a_running_router(tmp_path: Path) -> None:
    with RawUpstream() as upstream, running_router(tmp_path, upstream.port, **OWN_ANSWER_SETTINGS) as router:
        answers = [as_text(name, method.decode(), answer) for name, method, answer in own_answers(router, upstream)]
    assert len(answers) > 60
    assert faults(answers) == []


def test_answer_of_a_full_worker(tmp_path: Path) -> None:
    with RawUpstream() as upstream, running_router(tmp_path, upstream.port, max_connections=2) as router:
        with router.connect() as first, router.connect() as second, router.connect() as third:
            for client in (first, second):
                client.send(b"GET /__router_health HTTP/1.1\r\nHost: x\r\n")
            answer = third.read_response()
    assert answer.value(b"X-Router-Cause") == b"worker_full"
    assert faults([as_text("full", "GET", answer)]) == []


@pytest.mark.parametrize("accept", ["text/plain", "text/html", "application/json"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_refusal_of_every_class(tmp_path: Path, accept: str, method: str) -> None:
    answers = []
    flying = Flying(tmp_path, None, allow_trace=True)
    for cls in children(RouterError):
        if cls.status != 499:
            asked = "TRACE" if cls.status == 405 else method
            request, wire = flying.request(f"{asked} / HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
            flying.service.forwarder.refuse(request, cls("a reason"))({}, None)
            head = wire.read_head()
            assert head is not None
            body = b"" if asked == "HEAD" else wire.read_exactly(int(head.value(b"Content-Length") or b"0"))
            answer = Response(head, b"HTTP/1.1", cls.status, b"", body, "length", (), ())
            answers.append(as_text(cls.__name__, asked, answer))
    flying.close()
    assert faults(answers) == []
