"""A redirect as the answer to a health check: where it leads, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.address import Address
from app.deploy.events import Noted, Probed
from app.deploy.judge.health_answers import advice, meaning, target_path
from app.operator_errors import UnhealthyVersion
from app.settings.tables.app_settings import AppConfig
from tests.deploy.rehearsal import Rehearsal

CASES = {
    "slash added": ("/health", "/health/", '[app] health_path = "/health/"'),
    "slash taken away": ("/health/", "http://127.0.0.1:5005/health", '[app] health_path = "/health"'),
    "slash and https": ("/health", "https://shop.test/health/", '[app] health_path = "/health/"'),
    "https": ("/health", "https://127.0.0.1:5005/health", "it sends http to https"),
    "https under the site's name": ("/health", "https://shop.test/health", "it sends http to https"),
    "the site's name": ("/health", "http://www.shop.test/health", '[app] health_host = "www.shop.test"'),
    "login": ("/health", "/login?next=/health", "health_path = a path that needs no login"),
    "accounts": ("/health", "/accounts/login/?next=/health", "health_path = a path that needs no login"),
    "sign in": ("/health", "https://id.shop.test/sign-in", "health_path = a path that needs no login"),
    "front page": ("/", "/en/", ""),
    "a page about logins": ("/health", "/catalog/blogins", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_redirects_that_say_nothing_about_health_are_told_with_what_mends_them(case: str) -> None:
    path, location, said = CASES[case]
    assert said in advice(path, "127.0.0.1:5005", location)
    assert bool(said) == bool(advice(path, "127.0.0.1:5005", location))


@pytest.mark.parametrize(
    ("location", "path"),
    [("/a/?b=c", "/a/?b=c"), ("b", "/b"), ("https://shop.test", "/"), ("?x", "/health?x"), ("//cdn.test/a", "/a")],
)
def test_a_redirect_is_followed_on_the_same_server(location: str, path: str) -> None:
    assert target_path("/health", location) == path


def test_a_start_warns_of_a_redirect_that_is_no_sign_of_health(rehearsal: Rehearsal) -> None:
    (rehearsal.home / "redirect").write_text("/health/")
    rehearsal.deployer().start("blue")
    rehearsal.deployer().deploy()
    warnings = [event.text for event in rehearsal.seen(Noted) if event.warns]
    assert [text.partition(": ")[0] for text in warnings] == [
        f"{name} answers its health check with a redirect to /health/" for name in ("blue", "green")
    ]
    assert rehearsal.seen(Probed)[-1].probe.result.leads_to == "/health/"


def test_an_ordinary_redirect_is_no_reason_to_warn(rehearsal: Rehearsal) -> None:
    (rehearsal.home / "redirect").write_text("/en/start")
    rehearsal.deployer().start("blue")
    assert [event for event in rehearsal.seen(Noted) if event.warns] == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "it does not take 127.0.0.1:5005 for its name (Django: ALLOWED_HOSTS): [app] health_host = "),
        (401, 'or 401 counts as healthy: [app] health_statuses = "200-299, 401"'),
        (403, "it refuses /up to the router"),
        (404, "it has no /up: [app] health_path = "),
        (405, "/up cannot be asked with GET"),
        (421, "does not go by the name 127.0.0.1:5005"),
        (302, 'it redirects to /en/; or it counts as healthy: [app] health_statuses = "200-299, 302"'),
        (500, ""),
        (503, ""),
    ],
)
def test_unhealthy_answers_that_stay_as_they_are_are_told_with_the_setting(status: int, said: str) -> None:
    app = AppConfig(health_path="/up", health_statuses="200-299")
    found = meaning(app, Address("127.0.0.1", 5005), status, "/en/" if status == 302 else "")
    assert said in found and bool(said) == bool(found)


def test_setting_that_is_printed_is_one_that_is_taken() -> None:
    for status in (302, 401):
        printed = (
            meaning(AppConfig(), Address("127.0.0.1", 5005), status, "/x/")
            .partition('health_statuses = "')[2]
            .partition('"')[0]
        )
        assert AppConfig(health_statuses=printed).expects(status)


def test_a_start_says_at_once_what_a_missing_health_path_means(deployments: Callable[..., Rehearsal]) -> None:
    rehearsal = deployments(start_timeout=1, health_timeout=1)
    (rehearsal.home / "status").write_text("404")
    with pytest.raises(
        UnhealthyVersion,
        match=r"status 404, .*; it has no /health: \[app\] health_path",
    ):
        rehearsal.deployer().start("blue")
    warned = next(i for i, event in enumerate(rehearsal.events) if isinstance(event, Noted) and event.warns)
    before = [event.probe.result.status for event in rehearsal.events[:warned] if isinstance(event, Probed)]
    assert [status for status in before if status is not None] == [404] * 3
