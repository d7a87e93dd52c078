"""Reading the load generators' figures."""

from __future__ import annotations

import pytest

from bench.closed_loop import Load, percentile
from bench.load import GeneratorFailed, parse_wrk

WRK = """\
Running 2s test @ http://127.0.0.1:5004/64k
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.84ms    1.23ms  22.95ms   97.05%
    Req/Sec    17.85k     1.20k   19.11k    85.00%
  Latency Distribution
     50%  950.00us
     75%    1.81ms
     90%    2.19ms
     99%    1.02s
  35583 requests in 2.00s, 2.18GB read
Requests/sec:  17773.01
Transfer/sec:      1.09GB
"""


def test_wrk_figures_are_read_in_their_units() -> None:
    assert parse_wrk(WRK) == Load(35583, 0, 2.0, 950.0, 1_020_000.0)


def test_wrk_pads_seconds_with_a_space() -> None:
    assert parse_wrk(WRK.replace("1.02s", "1.02s ")).p99_us == 1_020_000.0


def test_wrk_errors_of_every_kind_are_added_up() -> None:
    text = WRK + "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"

    assert parse_wrk(text).errors == 15


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1 Connection refused", WRK[:200]])
def test_wrk_without_figures_is_an_error(text: str) -> None:
    with pytest.raises(GeneratorFailed):
        parse_wrk(text)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([7.0], 0.99, 7.0), ([4, 1, 3, 2], 0.5, 2), ([1, 2, 3], 0.5, 2), (range(1, 101), 0.99, 99)],
    ids=["none", "one", "even", "odd", "hundred"],
)
def test_percentile_is_a_value_that_occurred(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected
