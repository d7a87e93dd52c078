"""What servers make of the forwarding fields: whom and which scheme the application is told of."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.peers import PEERS_PYTHON, serving
from tests.support.router_process import RouterProcess, free_port, running_router
from tests.support.states import put_state
from tests.support.waiting import wait_until

APPLICATIONS = """
import json

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([environ["wsgi.url_scheme"], environ.get("HTTP_X_REAL_IP")]).encode()]

async def asgi(scope, receive, send):
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([scope["scheme"], fields.get("x-real-ip")]).encode()})
"""

SERVERS = {
    "gunicorn": "gunicorn -b 127.0.0.1:{port} application:wsgi",
    "uvicorn": "uvicorn --port {port} --lifespan off application:asgi",
    "hypercorn": "hypercorn -b 127.0.0.1:{port} application:asgi",
}

HTTPS_TOLD_BY = [
    b"X-Forwarded-Proto: https\r\n",
    b"X-Forwarded-Ssl: on\r\n",
    b"X-Forwarded-Protocol: ssl\r\n",
    b"X-Forwarded-Protocol: https\r\n",
    b"X-Forwarded-Scheme: https\r\n",
    b"X-Url-Scheme: https\r\n",
    b"X-Scheme: https\r\n",
    b"Front-End-Https: on\r\n",
    b"Forwarded: for=192.0.2.1;proto=https\r\n",
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Protocol: https\r\n",
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n",
    b"X-Forwarded-Proto: HTTPS\r\nFront-End-Https: off\r\nX-Forwarded-Scheme: http\r\n",
]
"""What public sites for nginx, Apache and HAProxy send, alone and together, agreeing or not."""


@contextlib.contextmanager
def serving_applications(command: str, folder: Path) -> Iterator[int]:
    """A server with the applications, which gives its port."""
    (folder / "application.py").write_text(APPLICATIONS)
    with serving(f"{PEERS_PYTHON} -m {command}", folder) as port:
        yield port


def told(router: RouterProcess, lines: bytes) -> list[str]:
    """The scheme and the client's address that the application is told."""
    answer = router.ask(b"GET / HTTP/1.1\r\nHost: shop.test\r\n" + lines + b"\r\n")
    assert answer.status == 200, answer.body
    found: list[str] = json.loads(answer.body)
    return found


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving_applications(SERVERS["gunicorn"], tmp_path_factory.mktemp("gunicorn")) as port:
        yield port


def test_gunicorn_believes_the_scheme_and_never_sees_two(gunicorn: int, tmp_path: Path) -> None:
    with running_router(tmp_path / "router", gunicorn, forwarded_hops=1) as router:
        for lines in HTTPS_TOLD_BY:
            assert told(router, lines + b"X-Forwarded-For: 192.0.2.1\r\n") == ["https", "192.0.2.1"], lines
        assert told(router, b"X-Real-IP: 192.0.2.1\r\n") == ["http", "192.0.2.1"]
        assert told(router, b"X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n")[0] == "http"


def test_gunicorn_hears_nothing_from_an_untrusted_client(gunicorn: int, tmp_path: Path) -> None:
    with running_router(tmp_path / "router", gunicorn) as router:
        for lines in HTTPS_TOLD_BY:
            lines += b"X-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n"
            assert told(router, lines) == ["http", "127.0.0.1"], lines
            assert told(router, lines.replace(b"-", b"_")) == ["http", "127.0.0.1"], lines


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_other_servers_are_told_one_scheme(server: str, tmp_path: Path) -> None:
    believed = "https" if server == "uvicorn" else "http"  # hypercorn believes nobody of itself
    with (
        serving_applications(SERVERS[server], tmp_path) as port,
        running_router(tmp_path / "router", port, forwarded_hops=1) as router,
    ):
        for lines in HTTPS_TOLD_BY:
            assert told(router, lines + b"X-Forwarded-For: 192.0.2.1\r\n") == [believed, "192.0.2.1"], lines


@pytest.mark.parametrize(
    ("command", "believed"),
    [
        ("uvicorn --uds {socket} --forwarded-allow-ips=* --lifespan off application:asgi", "https"),
        ("uvicorn --uds {socket} --lifespan off application:asgi", "http"),
        ("gunicorn -b unix:{socket} application:wsgi", "https"),
        ("hypercorn -b unix:{socket} application:asgi", "http"),
    ],
    ids=["uvicorn as it is documented", "uvicorn", "gunicorn", "hypercorn"],
)
def test_who_is_believed_on_a_socket(command: str, believed: str, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATIONS)
    socket = tmp_path / "app.sock"
    with running_router(tmp_path / "router", free_port(), forwarded_hops=1) as router, contextlib.ExitStack() as stack:
        words = f"{PEERS_PYTHON} -m {command.format(socket=socket)}".split()
        server = stack.enter_context(subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL))
        stack.callback(server.terminate)
        wait_until(socket.exists, f"the socket of: {command}", 30)
        put_state(router.state_file, "blue", {"blue": {"backends": [f"unix:{socket}"]}})
        assert told(router, b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n") == [believed, "192.0.2.1"]
