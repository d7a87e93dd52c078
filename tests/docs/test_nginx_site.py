"""The site for nginx, in front of a real router."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import RouterConfig
from tests.docs.pages import ROOT
from tests.support.raw_client import RawClient, Response
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import Settings, free_port, running_router
from tests.support.waiting import wait_until

SITE = ROOT / "docs" / "how-to" / "nginx" / "traffic-router.conf"
NGINX = shutil.which("nginx")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Front:
    """nginx in front of a router, and the version behind it."""

    def __init__(self, port: int, upstream: RawUpstream) -> None:
        self.port = port
        self.upstream = upstream

    def get(self, path: str, *fields: str, source: str = "127.0.0.1") -> Response:
        """The answer to a request through nginx."""
        lines = [f"GET {path} HTTP/1.1", f"Host: shop.example.org:{self.port}", "Connection: close", *fields]
        with RawClient(self.port, source=source) as client:
            return client.ask("\r\n".join([*lines, "", ""]).encode())


def configure(folder: Path, port: int, router_port: int) -> Path:
    """A whole configuration around the site, with all files in one folder."""
    site = SITE.read_text(encoding="utf-8").replace("listen 80;", f"listen 127.0.0.1:{port};")
    (folder / "site.conf").write_text(site.replace("127.0.0.1:5004", f"127.0.0.1:{router_port}"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {places} include {folder}/site.conf; }}\n"
    )
    return whole


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A router that trusts one proxy and lets 127.0.0.1 alone look at its own pages."""
    assert NGINX is not None
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    settings: Settings = {"forwarded_hops": 1, "admin_allow": "127.0.0.1"}
    with RawUpstream() as upstream, running_router(folder / "router", upstream.port, **settings) as router:
        whole = configure(folder, port, router.port)
        process = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(whole)])
        try:
            wait_until(lambda: (folder / "pid").exists() or process.poll() is not None, "nginx")
            assert process.poll() is None, (folder / "error.log").read_text()
            yield Front(port, upstream)
        finally:
            process.terminate()
            process.wait(20)


@needs_nginx
def test_version_learns_who_the_client_is(front: Front) -> None:
    front.upstream.reset()

    assert front.get("/a%20b", source="127.0.0.7").status == 200
    head = front.upstream.only.head
    assert (head.value(b"X-Forwarded-For") or b"").startswith(b"127.0.0.7, ")
    assert head.value(b"Host") == head.value(b"X-Forwarded-Host") == b"shop.example.org:%d" % front.port
    assert head.value(b"X-Forwarded-Port") == b"%d" % front.port
    assert head.value(b"X-Forwarded-Proto") == b"http"


@needs_nginx
def test_own_pages_are_judged_by_the_client_and_not_by_nginx(front: Front) -> None:
    assert front.get("/__router_metrics").status == 200
    assert front.get("/__router_metrics", source="127.0.0.7").status == 403
    assert front.get("/__router_metrics", "X-Forwarded-For: 127.0.0.1", source="127.0.0.7").status == 403


def test_nginx_waits_longer_than_the_router() -> None:
    found = re.search(r"proxy_read_timeout (\d+)s;", SITE.read_text(encoding="utf-8"))

    assert found is not None
    assert int(found[1]) > RouterConfig().read_timeout
