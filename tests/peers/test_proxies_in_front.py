"""The lines for Caddy and Traefik on `put-a-proxy-in-front.md`, in the real ones, in front of a real router."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.peers.peers import PEERS_BIN
from tests.support.fronts import HOST, Front, behind, standing_in_front
from tests.support.router_process import free_port

PAGE = ROOT / "docs" / "how-to" / "put-a-proxy-in-front.md"


def shown(language: str, word: str, router_port: int) -> str:
    """The block of the page that has this word in it, for a router on that port."""
    [found] = [block.text for block in blocks(PAGE, language) if word in block.text]
    assert "127.0.0.1:5004" in found
    return found.replace("127.0.0.1:5004", f"127.0.0.1:{router_port}")


def caddy(folder: Path, port: int, tls_port: int, router_port: int) -> list[str]:
    """The page's block; without a certificate authority in reach, Caddy signs for itself."""
    site = shown("text", "reverse_proxy", router_port)
    addresses = f"http://{HOST}:{port}, https://{HOST}:{tls_port} {{\n    tls internal"
    whole = f"{{\n    admin off\n    skip_install_trust\n    auto_https disable_redirects\n    http_port {port}\n}}\n"
    (folder / "Caddyfile").write_text(whole + site.replace(f"{HOST} {{", addresses))
    return [str(PEERS_BIN / "caddy"), "run", "--config", "Caddyfile", "--adapter", "caddyfile"]


def traefik(folder: Path, port: int, tls_port: int, router_port: int) -> list[str]:
    """The page's block as the dynamic configuration, and the same route without TLS."""
    dynamic = shown("yaml", "passHostHeader", router_port)
    plain = f'    plain: {{rule: "Host(`{HOST}`)", service: shop, entryPoints: [web]}}\n'
    assert "  routers:\n" in dynamic
    (folder / "dynamic.yml").write_text(dynamic.replace("  routers:\n", f"  routers:\n{plain}"))
    (folder / "traefik.yml").write_text(
        f"entryPoints: {{web: {{address: '127.0.0.1:{port}'}}, websecure: {{address: '127.0.0.1:{tls_port}'}}}}\n"
        "providers: {file: {filename: dynamic.yml}}\n"
        "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
    )
    return [str(PEERS_BIN / "traefik"), "--configFile=traefik.yml"]


PROXIES: dict[str, Callable[[Path, int, int, int], list[str]]] = {"caddy": caddy, "traefik": traefik}


@pytest.fixture(scope="module", params=PROXIES)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The proxy with the lines of the page."""
    folder, port, tls_port = tmp_path_factory.mktemp(request.param), free_port(), free_port()
    with behind(folder) as (router, upstream):
        command = PROXIES[request.param](folder, port, tls_port, router.port)
        with standing_in_front(command, folder, Front(port, tls_port, router, upstream)) as made:
            yield made


def test_version_learns_who_the_client_is(front: Front) -> None:
    front.check_client_is_known()


def test_version_learns_of_https(front: Front) -> None:
    front.check_https_is_known()


def test_own_pages_are_judged_by_the_client(front: Front) -> None:
    front.check_own_pages_are_judged_by_the_client()


def test_answer_is_passed_on_as_it_comes(front: Front) -> None:
    front.check_answer_is_passed_on_as_it_comes()


def test_websocket_goes_through(front: Front) -> None:
    front.check_websocket_goes_through()


def test_switches_under_load_lose_nothing(front: Front) -> None:
    front.check_switches_under_load_lose_nothing()
