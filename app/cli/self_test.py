"""`test`: requests through the running router that show whether it does its job: three, and one for each limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.cli.backend_view import places_text
from app.cli.health_view import health_in, read_health, situation_in
from app.cli.login_check import login_tests
from app.cli.metrics_view import read_metrics
from app.cli.router_client import HEALTH_PATH, METRICS_PATH, RouterClient
from app.cli.router_process import wait_until
from app.cli.terminal import heading, mark, ms_text
from app.deploy.judge.health_answers import advice, target_path
from app.metrics.exclusion import Exclusion
from app.operator_errors import OperatorError
from app.settings.loading import Loaded
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.limit_settings import LimitConfig
from app.settings.tables.login_settings import LoginConfig
from app.situation import HELD_BACK

__all__ = ["print_tests", "redirect_loop", "run_tests"]

_MOST_REDIRECTS = 10

_COUNTED_WITHIN_S = 2.0
"""A request is counted when its last byte is sent, which is a moment after we have read it."""


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """How one test went: one line of what was seen, with its figures."""

    name: str
    is_good: bool
    seen: str

    def __str__(self) -> str:
        return f"{mark(self.is_good)} {self.name}: {self.seen}"


def run_tests(loaded: Loaded, client: RouterClient) -> Iterator[TestOutcome]:
    """Run the three tests, and one for each login and each limit, one after the other.

    One whose request an operator holds back says that it was not made.
    """
    now = situation_in(read_health(client))
    is_held = now.kind.exit_code == HELD_BACK
    for name, test in _TESTS.items():
        try:
            is_good, seen = (False, f"not tested: {now.text}") if is_held and name != _ASKS_US else test(loaded, client)
        except (OperatorError, ValueError) as error:
            is_good, seen = False, str(error)
        yield TestOutcome(name, is_good, seen)
    if not is_held:
        for login, is_good, seen in login_tests(loaded.every(LoginConfig), client):
            yield TestOutcome(f"Login {login}", is_good, seen)
    for limit in loaded.every(LimitConfig):
        from app.cli.limit_test import limit_refuses  # it knows the proxy, which takes a moment to import

        is_good, seen = (False, f"not tested: {now.text}") if is_held else limit_refuses(loaded, client, limit)
        yield TestOutcome(f"Limit {limit.name}", is_good, seen)


def print_tests(outcomes: Iterable[TestOutcome], name: str) -> list[TestOutcome]:
    """Print each outcome as it comes; gives them all."""
    print(heading("TRAFFIC ROUTER TEST", name))
    seen = []
    for outcome in outcomes:
        seen.append(outcome)
        print(outcome, flush=True)
    print(f"\n{sum(outcome.is_good for outcome in seen)} of {len(seen)} tests passed")
    return seen


def _test_backend(loaded: Loaded, client: RouterClient) -> tuple[bool, str]:
    path = loaded.app.health_path
    answer = client.get(path, loaded.app.health_host)
    seen = f"{path} answered {answer.status} in {ms_text(answer.elapsed_ms)}"
    if answer.location and (loop := redirect_loop(loaded.app, client)):
        return False, f"{seen}: {loop}"
    if loaded.app.expects(answer.status):
        return True, seen + (f", which leads to {answer.location}" if answer.location else "")
    return False, f"{seen}: {answer.body[:100].decode('utf-8', 'replace').strip()}"


def redirect_loop(app: AppConfig, client: RouterClient) -> str:
    """In words, that whoever follows the health check's redirects never gets an answer; "" when that is not so.

    They are followed through the router as a browser would, and over https as if that ended in front of it.
    """
    host, path, scheme = app.health_host, app.health_path, ""
    seen = set[tuple[str, str, str]]()
    while (host, path, scheme) not in seen:
        seen.add((host, path, scheme))
        answer = client.get(path, host, scheme)
        if not (300 <= answer.status < 400 and answer.location) or len(seen) > _MOST_REDIRECTS:
            return ""
        target = urlsplit(answer.location)
        host, scheme = target.netloc or host, "https" if target.scheme == "https" else scheme
        path = target_path(path, answer.location)
    why = advice(app.health_path, host or "127.0.0.1", answer.location)
    return f"every answer is a redirect, and they lead in a circle ({answer.status} to {answer.location})" + (
        f"; {why}" if why else ""
    )


def _test_router(_loaded: Loaded, client: RouterClient) -> tuple[bool, str]:
    answer = client.get(HEALTH_PATH)
    health = health_in(answer, client.port)
    version, addresses = health.get("active_version"), health.get("active_addresses")
    took = ms_text(answer.elapsed_ms)
    if version and answer.status == 200:
        place = places_text(addresses) if addresses else f"port {health.get('active_port')}"
        return True, f"{version} is active on {place}, found in {took}"
    return False, f"{health.get('reason') or f'status {answer.status}'}, found in {took}"


def _test_metrics(loaded: Loaded, client: RouterClient) -> tuple[bool, str]:
    path, before = loaded.app.health_path, read_metrics(client)["total_requests"]
    if Exclusion(loaded.config.metrics_exclude).covers(path.encode()):
        took = ms_text(client.get(METRICS_PATH).elapsed_ms)
        return True, f"{before:,} requests counted, {path} never (metrics_exclude), read in {took}"
    client.get(path)
    # Other clients may be counted meanwhile, so this shows that requests are counted, not that this one was.
    is_counted = wait_until(lambda _: read_metrics(client)["total_requests"] > before, _COUNTED_WITHIN_S)
    took = ms_text(client.get(METRICS_PATH).elapsed_ms)
    if is_counted:
        return True, f"{read_metrics(client)['total_requests']:,} requests counted, read in {took}"
    return False, f"a request for {path} was not counted"


_ASKS_US = "Router health"
"""It sends no request that would be held back."""

_TESTS: dict[str, Callable[[Loaded, RouterClient], tuple[bool, str]]] = {
    "Health endpoint": _test_backend,
    _ASKS_US: _test_router,
    "Metrics endpoint": _test_metrics,
}
