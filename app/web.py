"""The Flask application: the router's own pages, and the catch-all view that proxies everything else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from logging import getLogger
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException
from werkzeug.routing import PathConverter

from app.access import COOKIE, Access
from app.address import Address
from app.dashboard.routes import Routes
from app.errors import MalformedRequest, RouterError
from app.event_file import EventFile
from app.event_recorder import EventRecorder
from app.failover_history import FailoverHistory
from app.health import health_report
from app.metrics.exposition import as_json, chosen_format, window_seconds
from app.metrics.shared import SharedMetrics
from app.notices import Notices
from app.proxy.client_request import ClientRequest
from app.proxy.environ import RELAYED_KEY, REQUEST_KEY, request_from_wsgi, who_asks, wsgi_environ
from app.proxy.forwarder import WsgiResponse
from app.proxy.replies.reply import error_reply
from app.proxy.service import Service
from app.settings.loading import TOML_NAME, Loaded, load
from app.settings.toml_file import read_toml
from app.state.listening import written
from app.state.model import VersionState
from app.survey import Survey, Whereabouts, fleet_of

__all__ = ["RouterApp", "create_app", "create_app_from_environment"]

logger = getLogger(__name__)

HEALTH_PATH = "/__router_health"
METRICS_PATH = "/__router_metrics"
OWN_PREFIX = b"/__router_"
"""Paths of ours; other paths that begin with two underscores belong to the application."""


ELSEWHERE_KEY = "traffic_router.own_pages_are_elsewhere"

_RELAYED = (
    "the request came through a proxy that forwarded_hops does not count, so who asks is not known; "
    "set forwarded_hops, use admin_token, or give these pages an address of their own with admin_bind"
)

OPEN_ENDPOINTS = ("health", None)
"""For everybody: the health report, and the 404 for what is not there."""

SIGN_IN_ENDPOINTS = ("dashboard.sign_in", "dashboard.sign_out", "dashboard.asset", "dashboard.icon")
"""What the form that asks for the token needs, where there is one."""


class RouterApp(Flask):
    """A Flask application whose catch-all view is reached without Flask's dispatch.

    Every request that is not for one of our own pages matches the catch-all, so there is no URL to match, no
    session to open and no context to push; Flask's own dispatch costs more than all of the forwarding.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("app", static_folder=None)
        self.service = service
        self.proxy: Callable[[ClientRequest], WsgiResponse] = service.forwarder.forward
        service.recording.follow(self._go_by_the_recording)
        self.recorder: EventRecorder
        self.on_stop: Callable[[], None] = _nothing
        self._dashboard = service.config.dashboard_path.encode()
        self._has_admin_port = bool(service.config.admin_bind)
        self.own_prefixes = (OWN_PREFIX, self._dashboard) if self._dashboard else (OWN_PREFIX,)

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Dispatches one request: our own pages through Flask, everything else to the catch-all view."""
        message = environ.get(REQUEST_KEY)
        if message is None:
            try:
                message = request_from_wsgi(environ, self.service.config)
            except RouterError as error:
                reply = error_reply(error, None, "", b"", self.service.config.show_cause == "always")
                start_response(reply.status_line, reply.fields)
                return [reply.body]
        target = message.head.target
        if target.startswith(self.own_prefixes) and self._is_own(target):
            return self._own_page(message, environ, start_response, is_elsewhere=self._has_admin_port)
        return self.proxy(message)(environ, start_response)

    def admin_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        """What is at `admin_bind`: our own pages, and nothing of the application's."""
        return self._own_page(environ[REQUEST_KEY], environ, start_response, is_elsewhere=False)

    def _own_page(
        self, message: ClientRequest, environ: dict[str, Any], start_response: Any, is_elsewhere: bool
    ) -> Any:
        """Through Flask. `is_elsewhere`: the pages are at an address of their own, and this is not it."""
        if message.endpoint is not None:
            environ = wsgi_environ(message, self.service.config)
        else:
            environ |= who_asks(message)
        environ[ELSEWHERE_KEY] = is_elsewhere
        return super().wsgi_app(environ, start_response)

    def _go_by_the_recording(self, is_on: bool) -> None:
        self.proxy = self.service.recording.forward if is_on else self.service.forwarder.forward

    def start(self) -> None:
        """Starts what goes on beside the requests."""
        self.service.start()
        self.recorder.start()

    def stop(self) -> None:
        """Ends the answers that would have no end by themselves; the worker stops."""
        self.on_stop()

    def _is_own(self, target: bytes) -> bool:
        path = target.partition(b"?")[0]
        return path.startswith(OWN_PREFIX) or path == self._dashboard


def _nothing() -> None:
    """There is nothing to end."""


def create_app(
    settings: Loaded,
    shared_metrics: SharedMetrics | None = None,
) -> RouterApp:
    """The application for one worker, to be built after gevent has patched.

    `shared_metrics` is what the master has made for its workers to count in.
    """
    config = settings.config
    failovers = FailoverHistory(Path(config.beside_state("history.jsonl")))
    service = Service(settings, shared_metrics, failovers.write)
    app = RouterApp(service)
    access = service.access
    where = _whereabouts(service)
    survey = Survey(config.state_file, service.metrics, service.router.state, where)
    events = EventFile(Path(config.beside_state("events.jsonl")))
    app.recorder = EventRecorder(events, service.metrics.try_lead, survey.look)
    dashboard = Routes(service, access, where) if config.dashboard_path else None
    if dashboard is not None:
        app.register_blueprint(dashboard.blueprint)
        app.on_stop = dashboard.stop

    _guard(app, access, dashboard)

    @app.get(HEALTH_PATH)
    def health() -> Response:
        report = health_report(service, survey)
        return _json(report, 200 if report["status"] == "healthy" else 503)

    if config.metrics_enabled:

        @app.get(METRICS_PATH)
        def metrics() -> Response:
            return _metrics(service, survey)

    @app.after_request
    def keep_out_of_caches(answer: Response) -> Response:
        if "Cache-Control" not in answer.headers:  # a 404 or a 405 is kept where nothing is said (RFC 9110 §15.1)
            answer.headers["Cache-Control"] = "no-store"
        return answer

    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider's; documented fields come first

    @app.errorhandler(HTTPException)
    def decline(error: HTTPException) -> Response:
        answer = Response(f"{HTTPStatus(error.code or 500).phrase}\n", content_type="text/plain; charset=utf-8")
        answer.headers.extend((name, value) for name, value in error.get_headers() if name != "Content-Type")
        answer.status_code = error.code or 500
        return answer

    @app.errorhandler(RouterError)
    def refuse(error: RouterError) -> Response:
        answer = Response(f"{error.text}: {error}\n", error.status, content_type="text/plain; charset=utf-8")
        answer.retry_after = error.retry_after_s
        return answer

    def proxy(path: str = "") -> Any:
        """The catch-all view: whatever is not ours goes to the active version. `wsgi_app` knows the way by heart."""
        return app.proxy(request.environ[REQUEST_KEY])

    # Not by `route`, which wants a list of methods: the catch-all takes any.
    app.view_functions["proxy"] = proxy
    app.url_map.converters["not_ours"] = _not_ours(config.dashboard_path)
    app.url_map.add(app.url_rule_class("/<not_ours:path>", endpoint="proxy"))
    return app


def _not_ours(dashboard_path: str) -> type[PathConverter]:
    """Any path but ours, so that a page of ours that is off, or is asked with another method, is not proxied."""
    ours = OWN_PREFIX[1:].decode() + (f"|{re.escape(dashboard_path[1:])}$" if dashboard_path else "")
    return type("NotOurs", (PathConverter,), {"regex": f"(?!{ours}).*"})


def _guard(app: RouterApp, access: Access, dashboard: Routes | None) -> None:
    """Lets only those at our pages whom `access` admits."""

    notices = Notices(logger)

    @app.before_request
    def admit() -> Response | None:
        if request.endpoint == "proxy" or (request.environ[ELSEWHERE_KEY] and request.endpoint != "health"):
            abort(404)
        if request.endpoint in OPEN_ENDPOINTS or (access.has_token and request.endpoint in SIGN_IN_ENDPOINTS):
            return None
        authorization, cookie = request.headers.get("Authorization", ""), request.cookies.get(COOKIE, "")
        address = "" if request.environ[RELAYED_KEY] else request.remote_addr or ""
        if access.admits(address, authorization, cookie, time.time()):
            return None
        if not address:
            notices.say(f"{request.path} was refused: {_RELAYED}")
        if not access.has_token:
            abort(403)
        if dashboard is not None and request.endpoint == "dashboard.page":
            return dashboard.ask_for_token()
        abort(401, www_authenticate=WWWAuthenticate("bearer"))


def _whereabouts(service: Service) -> Whereabouts:
    router, backends = service.router, service.settings.backends

    def addresses(version: VersionState) -> list[Address]:
        return [backend.address for backend in router.backends_of(version)]

    return Whereabouts(addresses, lambda version: written(version, backends))


def _metrics(service: Service, survey: Survey) -> Response:
    """The figures in the format and of the window that the request asks for. Raises MalformedRequest."""
    window_s = window_seconds(request.args.get("window"))
    form = chosen_format(request.args.get("format"), request.headers.get("Accept", ""))
    if form == "json":
        return _json(
            as_json(service.with_policy(service.metrics.snapshot(window_s)._replace(backends=survey.backends())))
        )
    if window_s is not None:
        raise MalformedRequest("window goes with format=json only: counters for Prometheus never begin anew")
    # Imported by the first scrape: prometheus_client costs start-up time and memory that many never need.
    from app.metrics.prometheus import render

    seen = survey.look()
    snapshot = service.with_policy(service.metrics.snapshot()._replace(backends=seen.backends))
    state, name = service.router.look(), service.config.name
    fleet = fleet_of(service.settings)
    evidence = None
    if state is not None and state.split is not None:
        from app.deploy.conduct.canary_record import evidence_of

        evidence = evidence_of(Path(service.config.beside_state("")), state.split)
    body, content_type = render(snapshot, form, seen.situation.word, state, name, fleet, evidence)
    return Response(body, content_type=content_type)


def _json(data: Mapping[str, Any], status: int = 200) -> Response:
    answer = jsonify(data)
    answer.status_code = status
    return answer


def create_app_from_environment(environ: Mapping[str, str]) -> RouterApp:
    """The application with the settings of the environment and of `traffic_router.toml`. Raises ConfigError."""
    loaded = load({}, environ, read_toml(Path(TOML_NAME)))
    return create_app(loaded)
