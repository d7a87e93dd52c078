"""The dashboard's answers, asked through the application: who gets them, and what is around them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.web import create_app
from tests.support.router_process import write_state

FAR = {"REMOTE_ADDR": "203.0.113.9"}
TOKEN = "correct horse battery staple"
FORM = "application/x-www-form-urlencoded"

Open = Callable[..., FlaskClient]


@pytest.fixture
def open_app(tmp_path: Path) -> Iterator[Open]:
    """Makes a client of an application with these settings."""
    write_state(tmp_path / "state.json", "blue", blue=5905)
    services = []

    def make(**settings: object) -> FlaskClient:
        files = {"state_file": str(tmp_path / "state.json"), "metrics_file": str(tmp_path / "metrics")}
        app = create_app(Loaded.just(RouterConfig(**{**files, **settings})))  # type: ignore[arg-type]  # fields by name
        services.append(app.service)
        return app.test_client()

    yield make
    for service in services:
        service.slot.close()
        service.metrics.close()


@pytest.fixture
def client(open_app: Open) -> FlaskClient:
    return open_app()


@pytest.fixture
def guarded(open_app: Open) -> FlaskClient:
    """With a token."""
    return open_app(admin_token=TOKEN)


def cookies_of(answer: TestResponse) -> list[str]:
    """The Set-Cookie fields."""
    return answer.headers.getlist("Set-Cookie")


class TestPage:
    """`/monitoring`"""

    def test_page_is_whole_without_any_script(self, client: FlaskClient) -> None:
        text = client.get("/monitoring").text
        assert '<h1 id="sentence">Blue serves all traffic.' in text
        assert text.count('class="plot"') == 8
        assert text.count("<figure") == 8
        assert '<meta http-equiv="refresh" content="5">' in text

    def test_nothing_of_it_comes_from_elsewhere(self, client: FlaskClient) -> None:
        text = client.get("/monitoring").text
        addresses = re.findall(r'(?:href|src|action)="([^"]*)"', text)
        assert addresses
        assert all(address.startswith(("/__router_", "#")) for address in addresses)

    def test_policy_allows_nothing_inline_and_page_needs_nothing_inline(self, client: FlaskClient) -> None:
        answer = client.get("/monitoring")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]* src=)", answer.text)

    @pytest.mark.parametrize("path", ["/monitoring", "/__router_dashboard/frame", "/__router_dashboard/figures/short"])
    def test_page_is_neither_kept_nor_indexed_nor_framed(self, client: FlaskClient, path: str) -> None:
        fields = client.get(path).headers
        assert fields["Cache-Control"] == "no-store"
        assert "noindex" in fields["X-Robots-Tag"]
        assert fields["X-Frame-Options"] == "DENY"
        assert fields["X-Content-Type-Options"] == "nosniff"

    def test_names_from_outside_are_escaped(self, client: FlaskClient, tmp_path: Path) -> None:
        release = "<script>alert(1)</script>"
        versions = {"blue": {"release": release}, "green": {"release": release}}
        state = {"active_version": "blue", "versions": versions}
        (tmp_path / "state.json").write_text(json.dumps(state))
        text = client.get("/monitoring").text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text

    def test_theme_of_the_cookie_is_drawn_at_once(self, client: FlaskClient) -> None:
        assert "data-theme" not in client.get("/monitoring").text
        client.set_cookie("traffic_router_theme", "dark")
        assert '<html lang="en" data-theme="dark">' in client.get("/monitoring").text
        client.set_cookie("traffic_router_theme", '"><script>')
        assert "data-theme" not in client.get("/monitoring").text

    def test_secrets_are_masked(self, open_app: Open) -> None:
        text = open_app(admin_token=TOKEN).get("/monitoring").text
        assert TOKEN not in text
        assert "********" in text

    def test_metrics_that_are_off_are_said_to_be(self, open_app: Open) -> None:
        assert "Metrics are off" in open_app(metrics_enabled=False).get("/monitoring").text

    def test_other_path(self, open_app: Open) -> None:
        moved = open_app(dashboard_path="/ops/router")
        assert "Traffic Router" in moved.get("/ops/router").text


class TestParts:
    """What the page is made of and kept up to date with"""

    def test_frame_names_elements_of_the_page(self, client: FlaskClient) -> None:
        frame = client.get("/__router_dashboard/frame").json
        assert isinstance(frame, dict)
        page = client.get("/monitoring").text
        plain = {"title", "tone", "topic", "at", "icon", "edition"}
        assert all(f'id="{name}"' in page for name in frame if name not in plain)
        assert plain <= set(frame)

    def test_page_that_is_open_learns_of_other_settings_by_the_edition(self, open_app: Open) -> None:
        def edition(client: FlaskClient) -> str:
            frame = client.get("/__router_dashboard/frame").json
            assert isinstance(frame, dict)
            assert f'data-edition="{frame["edition"]}"' in client.get("/monitoring").text
            return str(frame["edition"])

        first = edition(open_app())
        assert edition(open_app()) == first
        assert edition(open_app(read_timeout=31)) != first

    def test_every_chart_in_the_page_is_well_formed(self, client: FlaskClient) -> None:
        frame = client.get("/__router_dashboard/frame").json
        assert isinstance(frame, dict)
        for name in ("flags", "axis", "requests", "errors", "latency", "in_flight"):
            for span in ("short", "long"):
                ElementTree.fromstring(f"<svg>{frame[f'{span}-{name}']}</svg>")

    def test_events_begin_with_a_whole_frame(self, client: FlaskClient) -> None:
        answer = client.get("/__router_dashboard/events", buffered=False)
        assert answer.mimetype == "text/event-stream"
        text = next(answer.iter_encoded()).decode()
        answer.close()
        assert text.startswith("retry: ")
        assert '"sentence":"Blue serves all traffic.' in text

    def test_too_many_viewers_are_sent_to_the_frame(self, client: FlaskClient) -> None:
        answers = [client.get("/__router_dashboard/events", buffered=False) for _ in range(33)]
        assert [answer.status_code for answer in answers] == [200] * 32 + [503]
        assert answers[-1].headers["Retry-After"]
        for answer in answers:
            answer.close()
        again = client.get("/__router_dashboard/events", buffered=False)
        assert again.status_code == 200
        again.close()

    def test_head_for_events_leaves_no_stream_behind(self, client: FlaskClient) -> None:
        for _ in range(40):
            assert client.head("/__router_dashboard/events").status_code == 200

    def test_figures_for_the_pointer(self, client: FlaskClient) -> None:
        figures = client.get("/__router_dashboard/figures/short").json
        assert isinstance(figures, dict)
        assert len(figures["times"]) == 300
        assert client.get("/__router_dashboard/figures/other").status_code == 404

    def test_assets_are_kept_under_the_name_of_their_content(self, client: FlaskClient) -> None:
        links = re.findall(
            r'(?:href|src)="(/__router_dashboard/\w+\.(?:css|js)\?v=\w+)"', client.get("/monitoring").text
        )
        assert len(links) == 3
        for link in links:
            assert "immutable" in client.get(link).headers["Cache-Control"]
            assert client.get(link.partition("?")[0]).headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("name", ["blue", "green", "none"])
    def test_icons(self, client: FlaskClient, name: str) -> None:
        answer = client.get(f"/__router_dashboard/icon-{name}.svg")
        assert answer.mimetype == "image/svg+xml"
        ElementTree.fromstring(answer.text)

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND"])
    @pytest.mark.parametrize("path", ["", "/", "/x", "/style.css/x", "/icon-red.svg", "/..%2fview.py"])
    def test_unknown_path_is_404(self, client: FlaskClient, method: str, path: str) -> None:
        expected = (404, 405) if path == "/icon-red.svg" else (404,)
        assert client.open(f"/__router_dashboard{path}", method=method).status_code in expected

    def test_no_dashboard(self, open_app: Open) -> None:
        off = open_app(dashboard_path="")
        assert off.get("/__router_dashboard/frame").status_code == 404
        assert off.get("/__router_dashboard/style.css").status_code == 404


OWN = ["/monitoring", "/__router_metrics", "/__router_dashboard/frame", "/__router_dashboard/events"]


class TestAccess:
    """Who gets in, and how"""

    @pytest.mark.parametrize("path", [*OWN, "/__router_dashboard/style.css"])
    def test_address_from_afar_is_refused(self, client: FlaskClient, path: str) -> None:
        assert client.get(path, environ_base=FAR).status_code == 403

    def test_health_is_for_everybody(self, client: FlaskClient) -> None:
        assert client.get("/__router_health", environ_base=FAR).json["active_version"] == "blue"  # type: ignore[index]  # JSON

    def test_what_is_not_there_is_404_for_everybody(self, client: FlaskClient) -> None:
        assert client.get("/__router_x", environ_base=FAR).status_code == 404

    @pytest.mark.parametrize("path", OWN)
    def test_token_is_asked_for_where_there_is_one(self, guarded: FlaskClient, path: str) -> None:
        answer = guarded.get(path, environ_base=FAR)
        assert answer.status_code == 401
        assert "Blue serves" not in answer.text

    def test_script_shows_the_token_in_a_field(self, guarded: FlaskClient) -> None:
        answer = guarded.get("/__router_metrics", environ_base=FAR)
        assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
        shown = {"Authorization": f"Bearer {TOKEN}"}
        assert guarded.get("/__router_metrics", environ_base=FAR, headers=shown).status_code == 200

    def test_browser_gets_a_form_with_its_style(self, guarded: FlaskClient) -> None:
        answer = guarded.get("/monitoring", environ_base=FAR)
        assert '<form method="post"' in answer.text
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert guarded.get("/__router_dashboard/style.css", environ_base=FAR).status_code == 200

    def test_form_leaves_a_cookie_that_opens_every_page(self, guarded: FlaskClient) -> None:
        answer = self.sign_in(guarded, TOKEN)
        assert (answer.status_code, answer.location) == (303, "/monitoring")
        for path in ("/monitoring", "/__router_metrics", "/__router_dashboard/frame"):
            assert guarded.get(path, environ_base=FAR).status_code == 200
        assert "Sign out" in guarded.get("/monitoring", environ_base=FAR).text

    def test_cookie_is_of_the_safe_kind(self, guarded: FlaskClient) -> None:
        for cookie in cookies_of(self.sign_in(guarded, TOKEN)):
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert TOKEN not in cookie
            assert re.search(r"Path=/(monitoring|__router_dashboard|__router_metrics)(;|$)", cookie)
            assert "Secure" not in cookie

    def test_cookie_is_secure_where_a_trusted_proxy_speaks_tls(self, open_app: Open) -> None:
        behind = open_app(admin_token=TOKEN, forwarded_hops=1)
        for said in ({"X-Forwarded-Proto": "https"}, {"X-Forwarded-Ssl": "on"}, {"Forwarded": "proto=https"}):
            answer = self.sign_in(behind, TOKEN, said)
            assert all("Secure" in cookie for cookie in cookies_of(answer)), said

    @pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
    def test_wrong_token_leaves_nothing(self, guarded: FlaskClient, token: str) -> None:
        answer = self.sign_in(guarded, token)
        assert answer.status_code == 403
        assert "That is not the token." in answer.text
        assert not cookies_of(answer)

    def test_form_that_is_too_long_is_refused(self, guarded: FlaskClient) -> None:
        assert self.sign_in(guarded, "x" * 5000).status_code == 413

    def test_sign_out(self, guarded: FlaskClient) -> None:
        self.sign_in(guarded, TOKEN)
        guarded.post("/__router_dashboard/sign-out", environ_base=FAR)
        assert guarded.get("/monitoring", environ_base=FAR).status_code == 401

    def test_without_a_token_there_is_no_form_to_send(self, client: FlaskClient) -> None:
        assert client.post("/__router_dashboard/sign-in", data={"token": ""}).status_code == 404

    @staticmethod
    def sign_in(client: FlaskClient, token: str, fields: dict[str, str] | None = None) -> TestResponse:
        """Sends the form from afar."""
        path = "/__router_dashboard/sign-in"
        return client.post(path, data={"token": token}, environ_base=FAR, headers=fields, content_type=FORM)
