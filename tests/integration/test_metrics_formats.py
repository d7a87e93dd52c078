"""`/__router_metrics` in the formats and windows that it offers, through the real router."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.raw_client import Response
from tests.support.router_process import RouterProcess


def metrics(router: RouterProcess, query: str = "", accept: str = "") -> Response:
    accepts = f"Accept: {accept}\r\n" if accept else ""
    return router.ask(f"GET /__router_metrics{query} HTTP/1.1\r\nHost: x.test\r\n{accepts}\r\n".encode())


def test_window_shows_the_last_seconds_only(router: RouterProcess) -> None:
    answer = metrics(router, "?window=60")
    assert (answer.status, json.loads(answer.body)["window_s"]) == (200, 60)


@pytest.mark.parametrize(
    "query", ["?window=0", "?window=x", "?window=21601", "?format=yaml", "?format=prometheus&window=9"]
)
def test_what_cannot_be_answered_is_400_with_the_reason(router: RouterProcess, query: str) -> None:
    answer = metrics(router, query)
    assert answer.status == 400
    assert answer.body.startswith(b"Bad request: ")


@pytest.mark.parametrize(
    ("query", "accept"), [("?format=prometheus", ""), ("", "text/plain;version=0.0.4")], ids=["parameter", "accept"]
)
def test_prometheus_text_can_be_parsed(router: RouterProcess, query: str, accept: str) -> None:
    answer = metrics(router, query, accept)
    assert answer.value(b"Content-Type") == b"text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert "traffic_router_requests" in names


def test_openmetrics_ends_with_its_marker(router: RouterProcess) -> None:
    assert metrics(router, "?format=openmetrics").body.endswith(b"# EOF\n")
