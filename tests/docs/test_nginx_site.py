"""The site for nginx, in front of a real router."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings.tables.router_settings import RouterConfig
from tests.docs.pages import ROOT
from tests.support.fronts import HOST, Front, behind, standing_in_front
from tests.support.router_process import free_port

SITE = ROOT / "docs" / "how-to" / "nginx" / "traffic-router.conf"
NGINX = shutil.which("nginx")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


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
    """nginx with our site."""
    assert NGINX is not None
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    with behind(folder) as (router, upstream):
        whole = configure(folder, port, router.port)
        command = [NGINX, "-e", str(folder / "error.log"), "-c", str(whole)]
        with standing_in_front(command, folder, Front(port, 0, router, upstream)) as made:
            yield made


@needs_nginx
def test_version_learns_who_the_client_is(front: Front) -> None:
    front.check_client_is_known()
    head = front.upstream.only.head
    assert head.value(b"X-Forwarded-Host") == HOST.encode()
    assert head.value(b"X-Forwarded-Port") == b"%d" % front.port


@needs_nginx
def test_own_pages_are_judged_by_the_client_and_not_by_nginx(front: Front) -> None:
    front.check_own_pages_are_judged_by_the_client()


@needs_nginx
def test_answer_is_passed_on_as_it_comes(front: Front) -> None:
    front.check_answer_is_passed_on_as_it_comes()


@needs_nginx
def test_websocket_goes_through(front: Front) -> None:
    front.check_websocket_goes_through()


@needs_nginx
def test_switches_under_load_lose_nothing(front: Front) -> None:
    front.check_switches_under_load_lose_nothing()


def test_nginx_waits_longer_than_the_router() -> None:
    found = re.search(r"proxy_read_timeout (\d+)s;", SITE.read_text(encoding="utf-8"))

    assert found is not None
    assert int(found[1]) > RouterConfig().read_timeout
