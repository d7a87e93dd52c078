"""The page in every state that an operator may meet it in, each as a picture that stands still."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import cast
from unittest.mock import Mock

from app.access import Access
from app.dashboard.observation import Observation, Past
from app.dashboard.observer import Observer
from app.dashboard.view import View
from app.facts import Recent, Restarts
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.logins.login_figures import KeyState, LoginFigures
from app.logins.refusals import OUTCOMES
from app.metrics.backend_rows import DRAINED, EJECTED, OK, UNHEALTHY, BackendRow
from app.metrics.snapshot import FailedRequest, Probe, VersionStats
from app.state.model import Maintenance, Pause, with_version
from app.state.split import Split
from app.web import RouterApp
from tests.dashboard.observations import (
    AT,
    command,
    day,
    fleet,
    flight,
    latency,
    observation,
    past,
    probes,
    rollout,
    snapshot,
    state,
    stats,
    worker_stats,
)

__all__ = ["STATES", "hung"]

GONE = "nothing listens on port 5006"
HEALTHY: dict[str, Sequence[Probe]] = {"blue": probes("++++++++"), "green": probes("++++++++")}
ALONE: dict[str, Sequence[Probe]] = {"blue": probes("++++++++"), "green": probes("+++-----", GONE)}
WORKERS = [worker_stats(4101, 61_204, 2, is_leader=True), worker_stats(4102, 60_877, 1)]
BUSY = stats("blue", 2_410, 2, 3, 1 << 30, latency(12.4, 48, 210))
ROWS = [flight("blue", 8.2), flight("blue", 0.4, "/checkout/step/2?basket=8f1e0c55d0f94e0bb4&voucher=SPRING-2026")]
LONG = 'the command in [deploy] before ended with exit status 1: relation "orders" does not exist (migrate 0042)'


def _past(step_s: int, count: int, moved_at: float, erring: float) -> Past:
    """A chart of a busy router; blue fails that share of the requests in the last twelfth."""
    columns = list(day(count, 40, step_s, moved_at))
    for index in range(count * 11 // 12, count) if erring else ():
        blue = columns[index].blue
        columns[index] = replace(columns[index], blue=replace(blue, failed=round(blue.requests * erring)))
    return past(step_s, columns)


def _seen(
    *versions: VersionStats,
    checks: dict[str, Sequence[Probe]] = HEALTHY,
    held: int = 0,
    fault: str = "",
    failover_from: str | None = None,
    moved_at: float = 2.0,
    erring: float = 0.0,
    failures: Sequence[FailedRequest] = (),
    backends: Mapping[str, Sequence[BackendRow]] = MappingProxyType({}),
    **changes: object,
) -> Observation:
    """Blue serves a busy shop, unless something else is said."""
    workers = [WORKERS[0]._replace(held=held), *WORKERS[1:]]
    given = versions or (BUSY,)
    minute = snapshot(*given, rows=ROWS, workers=workers, probes=checks, fault=fault, failover_from=failover_from)
    minute = minute._replace(failures=failures, backends=backends)
    known = {
        "minute": minute,
        "lifetime": minute,
        "worker_rates": {4101: 20.5, 4102: 19.1},
        "short": _past(2, 300, moved_at, erring),
        "long": _past(60, 360, moved_at, erring),
    }
    return observation(**{**known, **changes})


_DEPLOYED = command("deploy", 7200, command="blue_green_deploy deploy --release=1.4.2", target="blue", goes_to="blue")
_FAILED = command(
    "deploy",
    40,
    command="blue_green_deploy deploy --release=1.5.0",
    outcome="failed",
    detail=LONG,
    phase="preparing",
    goes_to="green",
    duration_s=12.0,
)
_AT_WORK = command("deploy", 7, command="blue_green_deploy deploy --release=1.5.0", outcome=None, duration_s=None)
_DRAINED = [stats("green", 1_210, 0, 2, total=latency(12.4, 48, 210)), stats("blue", 1_200, 0, 1)]

_FAILURES = [
    FailedRequest("blue", "1961a69783c7143f-004", "GET", "/search", 0, 504, "read_timeout", AT - 41, 30_010.0),
    FailedRequest("blue", "1961a69783c7143f-007", "POST", "/checkout/step/2", 0, 500, "", AT - 9, 41.7),
    FailedRequest("blue", "1961a69783c7143f-00a", "POST", "/checkout/step/2", 0, 500, "", AT - 2, 38.0),
]

_BACKENDS = [
    BackendRow("127.0.0.1:5005", OK, "", 2, 90_120, 0, 0.0),
    BackendRow("127.0.0.1:5015", OK, "", 1, 88_031, 3, 0.0),
    BackendRow("127.0.0.1:5025", EJECTED, "too many requests failed in a row", 0, 51_007, 41, 17.2),
    BackendRow("127.0.0.1:5035", UNHEALTHY, "its health checks fail", 0, 60_311, 12, 0.0),
    BackendRow("127.0.0.1:5045", DRAINED, "taken out by hand", 1, 10, 0, 0.0),
]
_MANY = [BackendRow(f"[fd00:51a7:9c10:ab00::{number:x}]:8000", OK, "", 2, 90_120, 0, 0.0) for number in range(16)]

_LIMITS = (
    LimitFigures("api", 1_204_345, 1_830, 212, 0),
    LimitFigures("logins-of-the-shop-and-of-its-partners", 90, 0, 0, 70),
)
_REFUSED = (
    RefusedKey("api", "2001:db8:51a7:9c10::/64 /api/v1/items/search", 1_000, 3.2),
    RefusedKey("api", "header:X-Api-Key #0a1b2c3d", 830, 60.0),
)
_KEYS = (
    KeyState("https://id.example.com/realms/shop/protocol/openid-connect/certs", 2, 71.0, ""),
    KeyState("https://login.partner.example/keys", 1, 7_300.0, "no complete answer within 5 s"),
    KeyState("/etc/shop/keys.pem", 0, None, "key 1 is not used: it has 1024 bits; from 2048 to 8192 are wanted"),
)
_LOGINS = LoginFigures([12_345, 830, *(index % 3 for index in range(len(OUTCOMES) - 2))], _KEYS)

STATES: dict[str, Observation] = {
    "both": _seen(commands=[_DEPLOYED]),
    "active-only": _seen(state=state(green="stopped"), checks=ALONE, commands=[command("stop", 30, goes_to=None)]),
    "crashed": _seen(
        state=with_version(state(blue="crashed", green="stopped"), "blue", exit_status=137),
        checks={"blue": probes("+++++---", "nothing listens on port 5005"), "green": ALONE["green"]},
        ended_at={"blue": AT - 14},
    ),
    "standby-crashed": _seen(
        state=with_version(state(green="crashed"), "green", exit_status=1), checks=ALONE, ended_at={"green": AT - 24}
    ),
    "failing": _seen(
        checks={"blue": probes("+++++---", "status 503 where 200 was expected", 503), "green": probes("+")}
    ),
    "failover": _seen(
        stats("green", 2_400, 12, 3, total=latency(12.4, 48, 210)),
        state=state(blue="crashed"),
        checks={"blue": probes("+++++---", "nothing listens on port 5005"), "green": probes("++++++++")},
        failover_from="blue",
        ended_at={"blue": AT - 20},
        commands=[command("failover", 15, outcome="done", detail="blue does not answer")],
    ),
    "canary": _seen(state=replace(state(), split=Split("green", 500, AT + 8, "r42")), canary=rollout()),
    "fleet": _seen(fleet=fleet()),
    "paused": _seen(state=replace(state(), pause=Pause(AT - 4, AT + 26))),
    "maintenance": _seen(state=replace(state(), maintenance=Maintenance(AT - 65, until=AT + 600))),
    "broken-state": _seen(state_fault="bg_state.json line 1, column 29: Expecting ',' delimiter"),
    "nothing-started": observation(state=None, minute=snapshot(workers=WORKERS)),
    "none-active": observation(state=state(None, blue="stopped", green="stopped"), minute=snapshot(workers=WORKERS)),
    "deploying": _seen(
        at_work=[_AT_WORK],
        commands=[_DEPLOYED, _AT_WORK],
        state=state(green="starting"),
        checks={"blue": probes("++++++++"), "green": probes("--", GONE)},
    ),
    "deploy-failed": _seen(state=state(green="stopped"), checks=ALONE, commands=[_DEPLOYED, _FAILED]),
    "draining": _seen(
        *_DRAINED,
        state=state("green", switched_ago_s=12),
        commands=[_DEPLOYED, command("deploy", 14)],
        moved_at=0.98,
    ),
    "held": _seen(
        BUSY._replace(in_flight=12),
        held=9,
        state=state(blue="starting"),
        checks={"blue": probes("++---", "nothing listens on port 5005"), "green": ()},
    ),
    "erring": _seen(
        stats("blue", 2_410, 723, 3, 1 << 30, latency(12.4, 48, 210))._replace(
            causes={"read_timeout": 12}, code_classes={"5xx": 723}
        ),
        state=state(green="stopped"),
        checks=ALONE,
        erring=0.3,
        failures=_FAILURES,
    ),
    "slow": _seen(
        stats("blue", 2_410, 2, 9, 1 << 30, latency(45, 1_240, 2_100)),
        recent=Recent(2_410, 2, p95_ms=1_240.0, usual_p95_ms=150.0),
    ),
    "restarted": _seen(restarts={"blue": Restarts(True, False, 2, AT - 130, None, -9, AT - 130)}),
    "backends": _seen(
        state=with_version(state(), "green", backends=("unix:/run/shop/green-1.sock",), status="stopped", pid=None),
        elsewhere={"green": ("unix:/run/shop/releases/2026-11-28/green-1.sock",)},
        backends={"blue": _BACKENDS},
        backend_requests={"blue": {row.address: 830 * (row.state == OK) for row in _BACKENDS}},
    ),
    "many-backends": _seen(
        elsewhere={name: tuple(row.address for row in _MANY) for name in ("blue", "green")},
        backends={"blue": _MANY, "green": _BACKENDS},
        backend_requests={"blue": {row.address: row.requests for row in _MANY}},
    ),
    "policy": _seen(minute=snapshot(BUSY)._replace(limits=_LIMITS, refused=_REFUSED, logins=_LOGINS)),
    "no-keys": _seen(minute=snapshot(BUSY)._replace(limits=_LIMITS[1:], logins=LoginFigures([0] * len(OUTCOMES)))),
    "metrics-off": _seen(metrics_on=False, fault="the file was made by another version: stop all workers, remove it"),
}


@contextmanager
def hung(app: RouterApp) -> Iterator[int]:
    """Shows each of `STATES` at `/NAME`; gives the port. No script runs: nothing there moves."""
    pages = {f"/{name}": _page(app, seen) for name, seen in STATES.items()}
    style = (Path(__file__).parents[2] / "app/dashboard/static/style.css").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_style = self.path.startswith("/__router_dashboard/style.css")
            content = style if is_style else pages.get(self.path, b"")
            self.send_response(200)
            self.send_header("Content-Type", "text/css" if is_style else "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _page(app: RouterApp, seen: Observation) -> bytes:
    observer = Mock(spec=Observer)
    observer.look.return_value = seen
    view = View(app.service, Access(app.service.config), cast(Observer, observer), lambda: None)
    with app.test_request_context("/monitoring"):
        return re.sub(rb"<script.*?</script>", b"", view.page().data)
