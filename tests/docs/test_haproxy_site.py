"""The configuration for HAProxy, in front of a real router."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from app.settings.tables.router_settings import RouterConfig
from tests.docs.pages import ROOT
from tests.support.fronts import Front, behind, self_signed, standing_in_front
from tests.support.router_process import free_port

SITE = ROOT / "docs" / "how-to" / "haproxy" / "traffic-router.cfg"
HAPROXY = shutil.which("haproxy")

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """HAProxy with our file, the line for https in it as a user would have it."""
    assert HAPROXY is not None
    folder, port, tls_port = tmp_path_factory.mktemp("haproxy"), free_port(), free_port()
    with behind(folder) as (router, upstream):
        changes = {
            "bind :80": f"bind 127.0.0.1:{port}",
            "# bind :443 ssl crt /etc/haproxy/certs/": f"bind 127.0.0.1:{tls_port} ssl crt {self_signed(folder)}",
            "127.0.0.1:5004": f"127.0.0.1:{router.port}",
        }
        site = SITE.read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in site
            site = site.replace(old, new)
        (folder / "site.cfg").write_text(site)
        command = [HAPROXY, "-db", "-f", str(folder / "site.cfg")]
        with standing_in_front(command, folder, Front(port, tls_port, router, upstream)) as made:
            yield made


@needs_haproxy
def test_haproxy_accepts_the_file() -> None:
    assert HAPROXY is not None
    done = subprocess.run([HAPROXY, "-c", "-f", str(SITE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_haproxy
def test_version_learns_who_the_client_is(front: Front) -> None:
    front.check_client_is_known()


@needs_haproxy
def test_version_learns_of_https(front: Front) -> None:
    front.check_https_is_known()


@needs_haproxy
def test_own_pages_are_judged_by_the_client_and_not_by_haproxy(front: Front) -> None:
    front.check_own_pages_are_judged_by_the_client()


@needs_haproxy
def test_answer_is_passed_on_as_it_comes(front: Front) -> None:
    front.check_answer_is_passed_on_as_it_comes()


@needs_haproxy
def test_websocket_goes_through(front: Front) -> None:
    front.check_websocket_goes_through()


@needs_haproxy
def test_switches_under_load_lose_nothing(front: Front) -> None:
    front.check_switches_under_load_lose_nothing()


def test_haproxy_waits_longer_than_the_router() -> None:
    found = re.search(r"timeout server (\d+)s", SITE.read_text(encoding="utf-8"))
    assert found is not None
    assert int(found[1]) > RouterConfig().read_timeout
