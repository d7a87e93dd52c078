"""The benchmark of balancing: its books, its tables, and one quick run with all that is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import kills
from bench.balance import LIMITED, ON_ITS_PORT, SCENARIOS, Slow, render_cpu, render_kills, render_slow
from bench.benchmark import main
from bench.kills import Clients, Tally, kill_in_turn, tally, total
from bench.processes import Cores, Server
from bench.sampling import Sample
from tests.bench.test_figures import cells
from tests.support.raw_upstream import RawUpstream, answering, reply
from tests.support.waiting import wait_until


def sample(p99_us: float, requests: int = 1000, cpu_s: float = 0.05) -> Sample:
    return Sample(requests, 1, 2.0, 300.0, p99_us, cpu_s, 0.04, 0)


def books(failed: Sequence[str]) -> Clients:
    return Clients(0, {"GET": 9, "POST": 8}, {"GET": ["/0"], "POST": list(failed)})


@pytest.mark.parametrize(
    ("journal", "expected"),
    [
        ("", (0, 0, 1)),
        ("7 /1\n", (1, 0, 0)),
        ("8 /1\n", (0, 1, 0)),
        ("7 /1\n8 /1\n", (0, 1, 0)),
        ("7 /2\n", (0, 0, 1)),
    ],
    ids=["nobody had it", "the killed one had it", "another had it", "both had it", "the killed one had another"],
)
def test_failed_post_is_laid_to_who_had_it(journal: str, expected: tuple[int, int, int]) -> None:
    seen = tally(books(["/1"]), journal, killed=[7])
    assert (seen.in_killed, seen.elsewhere, seen.unreceived) == expected


def test_post_that_two_had_is_doubled_though_it_was_answered() -> None:
    seen = tally(books([]), "7 /1\n8 /1\n8 /2\n", killed=[7])
    assert (seen.doubled, seen.failed_posts) == (1, 0)


def test_kill_of_a_process_without_posts_is_no_hit() -> None:
    seen = tally(books([]), "7 /1\n7 /2\n9 /3\n", killed=[7, 8])
    assert (seen.kills, seen.hit) == (2, 1)
    assert (seen.gets, seen.failed_gets, seen.posts) == (9, 1, 8)


def test_total_adds_every_count() -> None:
    one = Tally(*range(10))
    assert total([one, one, one]) == Tally(*range(0, 30, 3))


def test_table_of_kills_has_sums() -> None:
    table = render_kills({"router": [Tally(*range(10)), Tally(*range(10))], "nginx": []})
    assert cells(table, "router") == ["router", *map(str, range(0, 20, 2))]
    assert "nginx" not in table


def test_table_of_slow_has_medians_beside_the_routers() -> None:
    ours = [Slow(sample(p99), share) for p99, share in ((40_000, 0.02), (44_000, 0.04), (90_000, 0.03))]
    table = render_slow({"router": ours, "nginx": [Slow(sample(88_000, 500), 0.25)]})
    assert cells(table, "router") == "router 0.3 44.0 1.00 500 1.00 3.00% 3 4%".split()
    assert cells(table, "nginx") == "nginx 0.3 88.0 2.00 250 0.50 25.00% 1 4%".split()


def test_table_of_cpu_compares_within_a_turn() -> None:
    base, four = ([sample(1, cpu_s=cpu_s) for cpu_s in each] for each in ((0.05, 0.1, 0.2), (0.055, 0.11, 0.21)))
    table = render_cpu({ON_ITS_PORT: base, "4 named": four})
    assert cells(table, ON_ITS_PORT) == [ON_ITS_PORT, "100.0", "75.0–150.0", "1.000", "500", "3", "4%"]
    assert cells(table, "4 named") == ["4 named", "110.0", "82.5–160.0", "1.100", "500", "3", "4%"]


def test_one_turn_is_a_table_too() -> None:
    assert cells(render_cpu({ON_ITS_PORT: [sample(1)]}), ON_ITS_PORT)[1:4] == ["50.0", "50.0–50.0", "1.000"]


def test_client_goes_on_after_a_failure_and_names_it() -> None:
    with RawUpstream() as upstream:
        refuse, answer = answering(reply(b"no", b"503 Service Unavailable")), answering(reply(b"yes"))
        upstream.answers_in_turn(answer, refuse, answer)
        clients = Clients(upstream.port)
        with clients.asking():
            wait_until(lambda: sum(clients.asked.values()) > 10 * kills.CLIENTS, "answers")
    assert len(clients.failed["GET"] + clients.failed["POST"]) == 1


def test_killed_backends_come_back_at_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "BACKENDS", 1)
    monkeypatch.setattr(kills, "UP_S", 0.3)

    @contextmanager
    def no_proxy(ports: Sequence[int]) -> Iterator[Server]:
        yield Server("the backend itself", ports[0], 0)

    seen = kill_in_turn(2, tmp_path / "kills", Cores.chosen(), no_proxy)
    assert (seen.kills, seen.hit, seen.elsewhere, seen.doubled) == (2, 2, 0, 0)
    assert 0 < seen.failed_posts < seen.posts


def test_quick_run_measures_every_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record.json"
    main(["balance", "--quick", "--only=nginx", f"--json={record}"])
    said, figures = capsys.readouterr().out, json.loads(record.read_text())
    assert [title for title in SCENARIOS if f"\n{title}\n\n|" in said] == ["slow", "queue", "kills", "cpu"]
    assert figures["slow"]["router"][0]["sample"]["errors"] == 0
    assert 0 < figures["slow"]["router"][0]["slow_share"] < 0.25
    assert figures["queue"][LIMITED][0]["sample"]["errors"] == 0
    [killed] = figures["kills"]["router"]
    assert (killed["kills"], killed["doubled"], killed["elsewhere"]) == (2, 0, 0)
    assert all(taken["requests"] > 0 for [taken] in figures["cpu"].values())
    assert ("nginx" in figures["slow"]) == ("nginx: not installed" not in said)
