"""The text formats, read back by prometheus_client's own parsers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.errors import CAUSES
from app.metrics.exposition import Format
from app.metrics.prometheus import BUCKETS_S, render
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from app.state.model import BlueGreenState, Maintenance, promote, with_maintenance, with_pause, with_split, with_version
from app.state.split import Split
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock

STATE = with_version(promote(BlueGreenState(), "blue", 1.0), "blue", release="r1")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
PARSERS: dict[Format, Callable[[str], Iterable[Metric]]] = {
    "prometheus": parse_text,
    "openmetrics": parse_openmetrics,
}


def scrape(metrics: SharedMetrics, form: Format, state: BlueGreenState | None = STATE) -> Samples:
    body, _ = render(metrics.snapshot(), form, "serving", state)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in PARSERS[form](body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"traffic_router_{name}", frozenset(labels.items())]


@pytest.fixture(params=["prometheus", "openmetrics"])
def form(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    return found


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("prometheus", "text/plain; version=0.0.4; charset=utf-8"),
        ("openmetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_content_type_names_the_format(metrics: SharedMetrics, form: Format, content_type: str) -> None:
    assert render(metrics.snapshot(), form, "serving", STATE)[1] == content_type


def test_counters(metrics: SharedMetrics, writer: SlotWriter, answer: Answer, clock: FakeClock, form: Format) -> None:
    answer(bytes_in=3, bytes_out=5)
    answer(status=502, cause=CAUSES.index("connect_refused"))
    writer.count_held(0, 1_500_000)
    samples = scrape(metrics, form)
    assert value(samples, "requests_total", version="blue", code_class="2xx") == 1
    assert value(samples, "requests_total", version="blue", code_class="5xx") == 1
    assert value(samples, "errors_total", version="blue", cause="connect_refused") == 1
    assert value(samples, "errors_total", version="green", cause="connect_refused") == 0
    assert value(samples, "failed_requests_total", version="blue") == 1
    assert value(samples, "request_body_bytes_total", version="blue") == 3
    assert value(samples, "response_body_bytes_total", version="blue") == 5
    assert value(samples, "held_requests_total", version="blue") == 1
    assert value(samples, "requests_held") == 0
    assert value(samples, "held_seconds_sum", version="blue") == 1.5
    assert value(samples, "held_seconds_bucket", version="blue", le="1.0") == 0
    assert value(samples, "held_seconds_bucket", version="blue", le="2.5") == 1


def test_gauges(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock, form: Format) -> None:
    writer.start(1, b"GET", b"/", clock())
    writer.beat(clock(), state_fault=True)
    metrics.try_lead()
    metrics.write_probe(0, 1.0, True, 200, 2_500, "")
    samples = scrape(metrics, form)
    assert value(samples, "requests_in_flight", version="green") == 1
    assert value(samples, "backend_up", version="blue") == 1
    assert value(samples, "backend_probe_duration_seconds", version="blue") == 0.0025
    assert ("traffic_router_backend_up", frozenset({("version", "green")})) not in samples
    assert value(samples, "workers") == 1
    assert (value(samples, "state_fault"), value(samples, "metrics_fault")) == (1, 0)


def test_histograms_are_cumulative_and_end_in_everything(metrics: SharedMetrics, answer: Answer, form: Format) -> None:
    for us in (800, 40_000, 40_000, 300_000_000):
        answer(total_us=us, first_byte_us=-1)
    samples = scrape(metrics, form)

    def bucket(le: str) -> float:
        return value(samples, "request_duration_seconds_bucket", version="blue", le=le)

    assert [bucket(repr(limit)) for limit in BUCKETS_S] == [1] * 5 + [3] * 11
    assert bucket("+Inf") == value(samples, "request_duration_seconds_count", version="blue") == 4
    assert value(samples, "request_duration_seconds_sum", version="blue") == pytest.approx(300.0808)
    assert value(samples, "time_to_first_byte_seconds_count", version="blue") == 0
    assert value(samples, "upstream_duration_seconds_count", version="blue") == 4


def test_window_is_refused(metrics: SharedMetrics) -> None:
    with pytest.raises(ValueError, match="window"):
        render(metrics.snapshot(60), "prometheus", "serving", STATE)


def test_names_follow_the_conventions(metrics: SharedMetrics) -> None:
    """Base units, one prefix, help for everything, and no name twice."""
    families = list(parse_text(render(metrics.snapshot(), "prometheus", "serving", STATE)[0].decode()))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    for family in families:
        assert re.fullmatch(r"traffic_router_[a-z_]+", family.name)
        assert not re.search(r"_(ms|milliseconds|us|minutes|kb)(_|$)", family.name)
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_versions_and_switches(metrics: SharedMetrics, form: Format) -> None:
    state = promote(promote(STATE, "green", 20.0), "green", 30.0)
    samples = scrape(metrics, form, state)
    assert [value(samples, "version_active", version=name) for name in ("blue", "green")] == [0, 1]
    assert value(samples, "version_info", version="blue", release="r1") == 1
    assert value(samples, "switches_total") == 2, "a promotion of what is active is none"
    assert value(samples, "last_switch_timestamp_seconds") == 30.0


def test_share_of_each_version_is_told_while_two_have_one(metrics: SharedMetrics, form: Format) -> None:
    blue = promote(STATE, "blue", 20.0)
    now = time.time()
    shared = scrape(metrics, form, with_split(blue, Split("green", 500, now + 60)))
    over = scrape(metrics, form, with_split(blue, Split("green", 500, now - 60)))
    shares = [[value(one, "version_share", version=name) for name in ("blue", "green")] for one in (shared, over)]
    assert shares == [[0.95, 0.05], [1, 0]]
    assert not [name for name, _ in scrape(metrics, form, blue) if "version_share" in name or "canary" in name]
    assert not [name for name, _ in shared if "canary" in name], "nobody judges it"


def test_pause_and_maintenance_are_told_while_they_hold(metrics: SharedMetrics, form: Format) -> None:
    now = time.time()
    quiet = scrape(metrics, form)
    both = scrape(metrics, form, with_maintenance(with_pause(STATE, now, 60), Maintenance(now)))
    over = scrape(metrics, form, with_pause(STATE, now - 100, 60))
    for mode in ("pause", "maintenance"):
        assert [value(one, f"{mode}_active") for one in (quiet, both, over)] == [0, 1, 0]
        assert value(both, f"{mode}_start_timestamp_seconds") == pytest.approx(now, rel=1e-9)
        assert ("traffic_router_" + mode + "_start_timestamp_seconds", frozenset()) not in quiet


def test_without_a_state_the_rest_is_told(metrics: SharedMetrics, form: Format) -> None:
    samples = scrape(metrics, form, None)
    assert [name for name, _ in samples if "version_active" in name or "switches" in name] == []
    built = next(dict(labels) for name, labels in samples if name == "traffic_router_build_info")
    assert built.keys() == {"version", "python", "form", "gevent", "gunicorn", "name"}
