"""The same auth service behind nginx' auth_request and behind the router: who gets in is the same, and as whom."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.holding import request
from tests.support.raw_client import Response, ask
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router, free_port
from tests.support.waiting import wait_until

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)"),
]

SITE = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr error; {user}
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    proxy_http_version 1.1;
    server {{
        listen 127.0.0.1:{port};
        location = /auth {{
            internal;
            proxy_pass http://127.0.0.1:{auth}/oauth2/auth;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-Uri $request_uri;
        }}
        location /internal/ {{
            auth_request /auth;
            auth_request_set $user $upstream_http_x_auth_request_user;
            proxy_set_header X-Auth-Request-User $user;
            proxy_set_header Connection "";
            proxy_pass http://127.0.0.1:{blue};
        }}
    }}
}}
"""

LOGIN = """
[[login]]
name = "admin"
path = ["/internal/*"]
forward = {{ url = "http://127.0.0.1:{auth}/oauth2/auth", copy = ["X-Auth-Request-User"] }}
"""


def oauth2_proxy(exchange: Exchange) -> None:
    """As its `/oauth2/auth`: 202 with who it is for a session, else 401; 403 for one who may not see the path."""
    if exchange.head.value(b"Cookie") != b"_oauth2_proxy=ada":
        exchange.send(reply(b"Unauthorized\n", b"401 Unauthorized"))
    elif exchange.head.value(b"X-Forwarded-Uri") == b"/internal/secret":
        exchange.send(reply(b"Forbidden\n", b"403 Forbidden"))
    else:
        exchange.send(reply(b"", b"202 Accepted", [(b"X-Auth-Request-User", b"ada")]))


@pytest.fixture
def auth() -> Iterator[RawUpstream]:
    with RawUpstream() as auth:
        auth.handler = oauth2_proxy
        yield auth


@pytest.fixture
def nginx(tmp_path: Path, blue: RawUpstream, auth: RawUpstream) -> Iterator[int]:
    assert NGINX is not None
    folder, port = tmp_path / "nginx", free_port()
    folder.mkdir()
    user = "user root;" if Path("/root").stat().st_uid == 0 and Path.home() == Path("/root") else ""
    (folder / "conf").write_text(SITE.format(folder=folder, port=port, auth=auth.port, blue=blue.port, user=user))
    with subprocess.Popen([NGINX, "-p", str(folder), "-e", "stderr", "-c", str(folder / "conf")]) as process:
        try:
            wait_until(lambda: answers(port), "nginx")
            yield port
        finally:
            process.terminate()


def answers(port: int) -> bool:
    try:
        return ask(port, request(target=b"/none")).status == 404
    except OSError:
        return False


@pytest.fixture
def router(tmp_path: Path, blue: RawUpstream, auth: RawUpstream) -> Iterator[RouterProcess]:
    with configured_router(tmp_path, blue.port, LOGIN.format(auth=auth.port)) as router:
        yield router


@pytest.mark.parametrize("cookie", [b"", b"Cookie: _oauth2_proxy=ada\r\n", b"Cookie: _oauth2_proxy=eve\r\n"])
@pytest.mark.parametrize("target", [b"/internal/a?b=c", b"/internal/secret"])
def test_who_gets_in_is_the_same(
    cookie: bytes, target: bytes, nginx: int, router: RouterProcess, blue: RawUpstream
) -> None:
    forged = b"X-Auth-Request-User: root\r\n"
    answers: list[Response] = [
        ask(port, request(target=target, fields=cookie + forged)) for port in (nginx, router.port)
    ]
    assert answers[0].status == answers[1].status
    users = [exchange.head.values(b"X-Auth-Request-User") for exchange in blue.exchanges]
    assert users == ([[b"ada"], [b"ada"]] if answers[0].status == 200 else [])
