"""The dashboard's answers: the page, its events, its style sheet and script, and the way in with a token.

`app.dashboard.routes` says where each is found, and loads this module when one is asked for.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from flask import Response, abort, make_response, redirect, request
from werkzeug.datastructures import WWWAuthenticate

from app import __version__
from app.access import COOKIE, COOKIE_LIFETIME_S, Access
from app.command_line import ROUTER_PROGRAM
from app.dashboard import charts, content, figures
from app.dashboard.form import posted_form
from app.dashboard.live import Live
from app.dashboard.observer import Observer
from app.dashboard.paths import ASSETS, PREFIX
from app.dashboard.render import RANGES, Renderer
from app.proxy.service import Service

__all__ = ["View"]

ICONS = {"blue": "#2f6fdb", "green": "#17864b", "none": "#8a94a0", "alarm": "#bb2a20"}
"""Colours of the sign in the browser's tab: that of the active version, and where something is wrong, none of them."""
THEME_COOKIE = "traffic_router_theme"
THEMES = ("light", "dark")

SECURITY_FIELDS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_STATIC = Path(__file__).with_name("static")
_YEAR_S = 31_536_000


class View:
    """The answers of one worker's dashboard; `live` is to be closed when the worker stops.

    Args:
        service, access: the worker's.
        observer: looks at the router.
        pause: lets others work in the middle of a long piece of work.
    """

    def __init__(
        self,
        service: Service,
        access: Access,
        observer: Observer,
        pause: Callable[[], None],
    ) -> None:
        self._config = service.config
        self._access = access
        self._observer = observer
        self._renderer = Renderer(pause, self._config.name)
        self.live = Live(self._fragments)
        self._assets = {name: (_STATIC / name).read_bytes() for name in ASSETS}
        self._digests = {name: _digest(content) for name, content in self._assets.items()}
        self._links = {name: f"{PREFIX}/{name}?v={digest}" for name, digest in self._digests.items()}
        self._settings = content.settings(service.settings)
        self._edition = _digest(repr((__version__, self._digests, self._settings)).encode())

    def _fragments(self) -> Mapping[str, str]:
        # A page that stays open over a reload or an upgrade finds by the edition that it is to load itself again.
        return {**self._renderer.fragments(self._observer.look()), "edition": self._edition}

    # --- the page -----------------------------------------------------------------------------------------

    def page(self) -> Response:
        """The whole page as it stands at this moment."""
        fragments = self.live.frame().fragments
        return self._html(
            self._renderer.page(
                "page.html",
                **self._frame_values(),
                f=fragments,
                ranges=RANGES,
                panels=charts.PANELS,
                headings=figures.HEADINGS,
                settings=self._settings,
                port=self._config.main_port,
                zone=time.strftime("%Z"),
                is_signed_in=COOKIE in request.cookies,
                look=f"{ROUTER_PROGRAM} status",
                icon_lost="data:image/svg+xml,"
                + quote(self._renderer.page("icon.svg", colour=ICONS["alarm"], is_lost=True)),
            )
        )

    def ask_for_token(self, status: int, message: str = "") -> Response:
        """The form in the page's place."""
        text = self._renderer.page("sign_in.html", **self._frame_values(), message=message)
        answer = self._html(text, status)
        if status == 401:
            answer.www_authenticate = WWWAuthenticate(
                "bearer"
            )  # RFC 9110 §15.5.2; a browser shows the form all the same
        return answer

    def _frame_values(self) -> dict[str, object]:
        theme = request.cookies.get(THEME_COOKIE)
        return {
            "prefix": PREFIX,
            "name": self._config.name,
            "path": self._config.dashboard_path,
            "links": self._links,
            "theme": theme if theme in THEMES else "",
            "version": __version__,
        }

    def _html(self, text: str, status: int = 200) -> Response:
        return _answer(text, "text/html; charset=utf-8", status)

    # --- what changes -------------------------------------------------------------------------------------

    def frame(self) -> Response:
        """The newest frame, for a script that cannot have a stream."""
        return _answer(self.live.frame().full, "application/json")

    def events(self) -> Response:
        """A frame a second."""
        if request.method == "HEAD":
            return _answer("", "text/event-stream")
        stream = self.live.open()
        if stream is None:
            refusal = _answer("too many viewers on this worker; ask for the frame instead\n", "text/plain", 503)
            refusal.headers["Retry-After"] = "10"
            return refusal
        answer = _answer("", "text/event-stream")
        answer.response = stream
        answer.headers.pop("Content-Length")
        answer.headers["X-Accel-Buffering"] = "no"  # nginx would collect the events otherwise
        return answer

    def figures(self, name: str) -> Response:
        """What the charts of one span say, column by column, for the pointer."""
        self.live.frame()
        past = self._observer.pasts.get(name)
        if past is None:
            abort(404)
        return _answer(json.dumps(figures.read_outs(past), ensure_ascii=False), "application/json")

    # --- style, script, icons -----------------------------------------------------------------------------

    def asset(self, name: str) -> Response:
        """The style sheet or the script; kept by browsers under the name that carries its digest."""
        answer = _answer(self._assets[name], f"{ASSETS[name]}; charset=utf-8")
        if request.args.get("v") == self._digests[name]:
            answer.headers["Cache-Control"] = f"private, max-age={_YEAR_S}, immutable"
        return answer

    def icon(self, name: str) -> Response:
        """The sign in the browser's tab."""
        if name not in ICONS:
            abort(404)
        return _answer(self._renderer.page("icon.svg", colour=ICONS[name], is_lost=False), "image/svg+xml")

    # --- the way in ---------------------------------------------------------------------------------------

    def sign_in(self) -> Response:
        """Takes the token from the form and leaves a cookie that stands for it."""
        token = posted_form(request).get("token", "")
        if not self._access.is_token(token):
            return self.ask_for_token(403, "That is not the token.")
        return self._with_cookie(self._access.cookie(time.time()), COOKIE_LIFETIME_S)

    def sign_out(self) -> Response:
        """Takes the cookie away."""
        return self._with_cookie("", 0)

    def _with_cookie(self, value: str, lifetime_s: int) -> Response:
        answer = make_response(redirect(self._config.dashboard_path, 303))
        for path in (self._config.dashboard_path, PREFIX, "/__router_metrics"):
            answer.set_cookie(
                COOKIE,
                value,
                max_age=lifetime_s,
                path=path,
                httponly=True,
                samesite="Strict",
                secure=request.is_secure,
            )
        _protect(answer)
        return answer


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _answer(body: str | bytes, media_type: str, status: int = 200) -> Response:
    answer = Response(body, status, content_type=media_type)
    _protect(answer)
    return answer


def _protect(answer: Response) -> None:
    answer.headers["Cache-Control"] = "no-store"
    for name, value in SECURITY_FIELDS.items():
        answer.headers[name] = value
