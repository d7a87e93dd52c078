"""Logins beside other people's OpenID: a provider made with Authlib, Apache's mod_auth_openidc as the auth service."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from tests.peers.peers import PEERS_PYTHON, serving
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

APACHE = shutil.which("apache2", path="/usr/sbin:/usr/bin")
MODULES = Path("/usr/lib/apache2/modules")

CLIENT_ID, CLIENT_SECRET = "shop", "a secret of the shop and its provider"
CALLBACK = "http://127.0.0.1:9/callback"
"""Nobody is there: the test reads the code in the redirect."""

TOKENS = """
[[login]]
name = "api"
path = ["/api/*"]
[login.jwt]
issuer = "{issuer}"
audience = "shop-api"
jwks = "{jwks}"
algorithms = ["RS256", "ES256"]
scope = "shop:read"
claims = ["sub", "scope", "client_id"]

[[login]]
name = "page"
path = ["/page"]
[login.jwt]
issuer = "{issuer}"
audience = "shop"
jwks = "{jwks}"
algorithms = ["RS256", "ES256"]
claims = ["sub", "email"]
"""


@pytest.fixture
def blue() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        upstream.answers(reply(b"blue"))
        yield upstream


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the provider says of itself."""
    folder = tmp_path / "provider"
    folder.mkdir()
    command = f"{PEERS_PYTHON} -m flask --app tests.peers.identity_provider run --port {{port}}"
    with serving(command, folder, "/jwks.json") as port:
        found: dict[str, Any] = requests.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration").json()
        yield found


def logged_in(provider: dict[str, Any], scope: str = "openid shop:read") -> dict[str, Any]:
    """The tokens of somebody who has logged in: the authorization code flow with PKCE, up to its end."""
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "scope": scope,
        "state": "s",
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    sent = requests.get(provider["authorization_endpoint"], asked, allow_redirects=False)
    (code,) = parse_qs(urlsplit(sent.headers["Location"]).query)["code"]
    answer = requests.post(
        provider["token_endpoint"],
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": verifier,
        },
        auth=(CLIENT_ID, CLIENT_SECRET),
    )
    tokens: dict[str, Any] = answer.json()
    assert answer.status_code == 200, tokens
    return tokens


def status(router: RouterProcess, path: str, token: str) -> int:
    fields = {"Authorization": f"Bearer {token}"}
    return requests.get(f"http://127.0.0.1:{router.port}{path}", headers=fields, timeout=20).status_code


def test_tokens_of_a_login_open_what_they_are_for(tmp_path: Path, provider: dict[str, Any], blue: RawUpstream) -> None:
    toml = TOKENS.format(issuer=provider["issuer"], jwks=provider["jwks_uri"])
    with configured_router(tmp_path, blue.port, toml, workers=2) as router:
        tokens = logged_in(provider)
        assert status(router, "/api/a", tokens["access_token"]) == 200
        assert status(router, "/page", tokens["id_token"]) == 200
        assert status(router, "/api/a", tokens["id_token"]) == 401, "it is for the client, not for the API"
        assert status(router, "/api/a", logged_in(provider, "openid")["access_token"]) == 403
        first, second = (exchange.head for exchange in blue.exchanges)
        assert first.values(b"X-Auth-Subject") == second.values(b"X-Auth-Subject") == [b"ada"]
        assert first.values(b"X-Auth-Scope") == [b"openid shop:read"]
        assert first.values(b"X-Auth-Client-Id") == [b"shop"]
        assert second.values(b"X-Auth-Email") == [b"ada@example.org"]

        requests.post(f"{provider['issuer']}rotate").raise_for_status()
        later = logged_in(provider)["access_token"]
        wait_until(lambda: status(router, "/api/a", later) == 200, "its new key to be known", 40)
        assert status(router, "/api/a", tokens["access_token"]) == 200


# --- mod_auth_openidc ------------------------------------------------------------------------------------

APACHE_CONF = """
{modules}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog /dev/stderr
{user}
OIDCProviderMetadataURL {issuer}.well-known/openid-configuration
OIDCClientID {client}
OIDCClientSecret "{secret}"
OIDCRedirectURI http://127.0.0.1:{port}/oauth2/callback
OIDCRedirectURLsAllowed ^http://127\\.0\\.0\\.1:
OIDCCryptoPassphrase 0123456789abcdef
OIDCPKCEMethod S256
OIDCScope "openid email"
OIDCRemoteUserClaim sub
OIDCSessionType client-cookie
OIDCCookieSameSite On
<Location />
    AuthType openid-connect
    Require valid-user
</Location>
<Location /oauth2/auth>
    OIDCUnAuthAction 401
    RewriteEngine On
    RewriteRule .* - [R=204]
    Header always set X-Auth-Request-User expr=%{{REMOTE_USER}}
</Location>
"""

FORWARD = """
[[login]]
name = "admin"
path = ["/internal/*"]
[login.forward]
url = "http://127.0.0.1:{port}/oauth2/auth"
copy = ["X-Auth-Request-User"]
sign_in = "http://127.0.0.1:{port}/oauth2/callback?iss={issuer}&target_link_uri={{url}}"
"""


@contextmanager
def apache(folder: Path, provider: dict[str, Any]) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    loaded = ("mpm_event", "unixd", "authn_core", "authz_core", "authz_user", "headers", "rewrite", "auth_openidc")
    built_in = subprocess.run([str(APACHE), "-l"], check=True, capture_output=True, text=True).stdout
    text = APACHE_CONF.format(
        modules="\n".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in loaded if f"mod_{name}.c" not in built_in
        ),
        folder=folder,
        port=port,
        issuer=provider["issuer"],
        client=CLIENT_ID,
        secret=CLIENT_SECRET,
        user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
    )
    (folder / "conf").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(APACHE), "-X", "-f", str(folder / "conf")], stderr=log, stdout=log)
    try:
        wait_until(lambda: answers(port), "Apache", 20)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/oauth2/auth", timeout=5).status_code == 401
    except requests.ConnectionError:
        return False


@pytest.mark.skipif(
    APACHE is None or not (MODULES / "mod_auth_openidc.so").exists(),
    reason="Apache's mod_auth_openidc is not installed (Debian: apache2-bin libapache2-mod-auth-openidc)",
)
def test_browser_is_sent_to_log_in_and_comes_back_as_somebody(
    tmp_path: Path, provider: dict[str, Any], blue: RawUpstream
) -> None:
    with apache(tmp_path / "apache", provider) as port:
        toml = FORWARD.format(port=port, issuer=quote(provider["issuer"], safe=""))
        with configured_router(tmp_path, blue.port, toml) as router, requests.Session() as browser:
            wanted = f"http://127.0.0.1:{router.port}/internal/x?a=b%20c"
            program = requests.get(wanted, headers={"X-Auth-Request-User": "root"})
            assert (program.status_code, blue.exchanges) == (401, [])

            came = browser.get(wanted, headers={"Accept": "text/html"}, timeout=20)
            ways = [urlsplit(step.url).port for step in came.history]
            assert (came.status_code, came.url, came.text) == (200, wanted, "blue"), (
                tmp_path / "apache/log"
            ).read_text()
            assert ways[0] == router.port and urlsplit(provider["issuer"]).port in ways
            assert blue.only.head.values(b"X-Auth-Request-User") == [b"ada"]

            assert browser.post(wanted, b"once", headers={"X-Auth-Request-User": "root"}).status_code == 200
            assert blue.exchanges[-1].head.values(b"X-Auth-Request-User") == [b"ada"]
            browser.cookies.clear()
            assert browser.get(wanted).status_code == 401
