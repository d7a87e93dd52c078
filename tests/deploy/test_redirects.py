"""A redirect as the answer to a health check: where it leads, and what would mend it."""

from __future__ import annotations

import pytest

from app.deploy.events import Noted, Probed
from app.deploy.redirects import advice, target_path
from tests.deploy.deployment import Deployment

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


def test_a_start_warns_of_a_redirect_that_is_no_sign_of_health(deployment: Deployment) -> None:
    (deployment.home / "redirect").write_text("/health/")
    deployment.deployer().start("blue")
    deployment.deployer().deploy()
    warnings = [event.text for event in deployment.seen(Noted) if event.warns]
    assert [text.partition(": ")[0] for text in warnings] == [
        f"{name} answers its health check with a redirect to /health/" for name in ("blue", "green")
    ]
    assert deployment.seen(Probed)[-1].probe.result.leads_to == "/health/"


def test_an_ordinary_redirect_is_no_reason_to_warn(deployment: Deployment) -> None:
    (deployment.home / "redirect").write_text("/en/start")
    deployment.deployer().start("blue")
    assert [event for event in deployment.seen(Noted) if event.warns] == []
