"""The books of the soak find what must not be: one record is wrong, and the check that is there for it says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.soak import report
from tests.soak.books import CHECKS, Books
from tests.soak.evidence import Account, Event, Evidence, Execution, Figures, Kill, Line, Overrun, Spared, Spell
from tests.soak.seen import Seen

FAILED, LOST, CONNECTIONS, TWICE, VERSION, COMMANDS, *OTHERS = CHECKS
QUIET, LOG, METRICS, ABORTED, RECEIPTS, GETS, SPARED, LIMIT = OTHERS


def get(number: int, start: float, version: str = "blue") -> Seen:
    return Seen(f"get-{number}", "get", start, start + 0.1, start + 0.1, version, 200)


def lost_at_5(number: int) -> Seen:
    return Seen(f"get-{number}", "get", 4.0, 5.1, error="reset")


def in_order() -> Evidence:
    """Blue has the traffic from 0 to 10, green from 11 to 20; a worker is killed at 5 and blue at 15."""
    lost_in_worker = Seen("get-4", "get", 4.9, 5.1, error="reset", is_stale=True, idle_s=0.01)
    lost_in_app = Seen("post-2", "post", 14.9, 15.1, status=502, cause="upstream_reset", error="502")
    paid = Seen("post-1", "post", 2.0, 2.1, 2.1, "blue", 200)
    seen = [get(1, 1.0), get(2, 3.0), get(3, 12.0, "green"), lost_in_worker, paid, lost_in_app]
    return Evidence(
        seen=seen,
        events=[Event("switch", 10.0, 11.0)],
        kills=[Kill("worker", 7, 4.95, 5.0, in_flight=1), Kill("app", 8, 14.95, 15.0, version="green")],
        spells=[Spell(0.0, 10.0, "blue"), Spell(11.0, 20.0, "green")],
        quiet=[(6.0, 7.0)],
        executions=[Execution("post-1", "blue", 2.05), Execution("post-2", "green", 14.95)],
        lines=[
            *(Line(each.id, each.version, each.status, "none") for each in seen if not each.error),
            Line("post-2", "green", 502, "upstream_reset"),
        ],
        figures={"blue": Figures(4, 1), "green": Figures(2, 0), "": Figures(0, 0)},
        accounts=[
            Account("switch green", 10.5, 11.0, "blue", 0, 0, 0, 0),
            Account("switch green", 10.5, 14.0, "green", 1, 1, 0, 0),
        ],
    )


def faults(evidence: Evidence) -> dict[str, list[str]]:
    return {name: found for name, found in report.faults(Books(evidence)).items() if found}


def test_books_in_order_have_no_fault() -> None:
    assert faults(in_order()) == {}


def change(index: int, **values: object) -> Callable[[Evidence], None]:
    """Makes one of the clients' records another."""

    def act(evidence: Evidence) -> None:
        seen = list(evidence.seen)
        seen[index] = replace(seen[index], **values)  # type: ignore[arg-type]  # tests give fields by name
        evidence.seen = seen

    return act


def both(*wrong: Callable[[Evidence], None]) -> Callable[[Evidence], None]:
    """Makes several changes."""

    def act(evidence: Evidence) -> None:
        for each in wrong:
            each(evidence)

    return act


def lost_get(others: int, cause: str = "upstream_reset") -> Callable[[Evidence], None]:
    """A GET fails in a process of green's that is killed while so many others serve."""
    return both(
        add("kills", Kill("app", 9, 16.0, 16.1, version="green", instance=2, others=others)),
        add("seen", Seen("get-8", "get", 15.95, 16.1, 16.1, status=502, cause=cause, error="502")),
        add("lines", Line("get-8", "green", 502, cause)),
    )


def add(name: str, record: object) -> Callable[[Evidence], None]:
    """Adds a record."""

    def act(evidence: Evidence) -> None:
        setattr(evidence, name, [*getattr(evidence, name), record])

    return act


def put(name: str, value: object) -> Callable[[Evidence], None]:
    """Replaces all of something."""
    return lambda evidence: setattr(evidence, name, value)


def tally(blue: Figures) -> Callable[[Evidence], None]:
    return lambda evidence: setattr(evidence, "figures", {**evidence.figures, "blue": blue})


@pytest.mark.parametrize(
    ("wrong", "check", "said"),
    [
        pytest.param(change(0, error="502 b'Bad gateway'"), FAILED, "get-1 from 1.000", id="failed without a kill"),
        pytest.param(change(5, start=15.01), FAILED, "post-2", id="sent when the application was dead already"),
        pytest.param(change(5, end=30.0), FAILED, "post-2", id="failed long after the kill"),
        pytest.param(
            put("seen", [*in_order().seen, *(lost_at_5(number) for number in (8, 9))]),
            LOST,
            "'get-8', 'get-9'",
            id="lost",
        ),
        pytest.param(change(1, error="reset", is_stale=True, idle_s=0.3), CONNECTIONS, "get-2", id="reset"),
        pytest.param(change(1, found_closed=True, idle_s=0.3), CONNECTIONS, "idle for 0.300 s", id="unannounced"),
        pytest.param(add("executions", Execution("post-1", "green", 9)), TWICE, "executed 2 times", id="twice"),
        pytest.param(add("executions", Execution("post-9", "green", 9)), TWICE, "nobody asked", id="out of nowhere"),
        pytest.param(put("executions", []), TWICE, "post-1 was answered and not executed", id="not executed"),
        pytest.param(change(2, version="blue"), VERSION, "get-3 was answered by blue, 1000.0 ms", id="old version"),
        pytest.param(change(1, start=9.0, heard=9.9, end=15, version="green"), VERSION, "get-2", id="new version"),
        pytest.param(add("events", Event("reload", 1, 2, "reload: 1")), COMMANDS, "reload: 1", id="exit code"),
        pytest.param(add("executions", Execution("post-1", "blue", 6.5)), QUIET, "post-1", id="not quiet"),
        pytest.param(add("lines", Line("get-1", "blue", 200, "none")), LOG, "get-1 was logged 2 times", id="two lines"),
        pytest.param(add("lines", Line("get-9", "blue", 200, "none")), LOG, "no client has sent it", id="no client"),
        pytest.param(change(0, status=404), LOG, "get-1 was answered 404", id="another status"),
        pytest.param(lambda evidence: put("lines", evidence.lines[2:])(evidence), LOG, "get-1", id="lines missing"),
        pytest.param(tally(Figures(6, 1)), METRICS, "blue: 6 requests", id="counted too many"),
        pytest.param(tally(Figures(4, 1, in_flight=1)), METRICS, "1 in flight for ever", id="in flight for ever"),
        pytest.param(tally(Figures(4, 2)), ABORTED, "2 aborted in the metrics, 1 in flight", id="aborted"),
        pytest.param(
            add("accounts", Account("rollback", 0.5, 2.0, "blue", 3, 1, 1, 0)), RECEIPTS, "not balance", id="balance"
        ),
        pytest.param(
            add("accounts", Account("rollback", 0.1, 9.0, "blue", 2, 2, 0, 0)), RECEIPTS, "from 3 to", id="too few"
        ),
        pytest.param(
            add("accounts", Account("rollback", 0.1, 9.0, "blue", 7, 7, 0, 0)), RECEIPTS, "from 3 to", id="too many"
        ),
        pytest.param(
            add("accounts", Account("rollback", 5.0, 9.0, "blue", 1, 0, 1, 0, ("get-1",))),
            RECEIPTS,
            "get-1 was cut",
            id="cut by the receipt only",
        ),
        pytest.param(
            add("accounts", Account("rollback", 5.0, 9.0, "blue", 1, 1, 0, 0, held_s=9.0)),
            RECEIPTS,
            "held for 9.000 s, and no client waited longer than 0.200 s",
            id="held longer than anybody waited",
        ),
        pytest.param(lost_get(others=2), GETS, "get-8 failed with green.2, and 2 others served", id="others served"),
        pytest.param(
            both(add("spared", Spared(0.5, 2.0, "blue", 2)), change(0, instance=2)),
            SPARED,
            "get-1 was answered by blue.2, 0.500 s after its drain",
            id="drained",
        ),
        pytest.param(
            add("overruns", Overrun("blue", 2, 7, 12.0, 12.2)),
            LIMIT,
            "blue.2 had up to 7 requests",
            id="over the limit",
        ),
        pytest.param(
            both(
                add("kills", Kill("app", 9, 16.0, 16.1, version="green", instance=2)),
                add("seen", Seen("get-8", "get", 15.95, 16.1, 16.0, "green", 200, error="cut", instance=3)),
                add("lines", Line("get-8", "green", 200, "upstream_truncated")),
            ),
            FAILED,
            "get-8",
            id="failed in another process than the one that was killed",
        ),
    ],
)
def test_wrong_record_is_found(wrong: Callable[[Evidence], None], check: str, said: str) -> None:
    evidence = in_order()
    wrong(evidence)
    assert said in "\n".join(faults(evidence)[check])


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(lost_get(others=0), id="no other process served"),
        pytest.param(lost_get(others=2, cause="upstream_truncated"), id="its answer had begun"),
        pytest.param(
            both(add("spared", Spared(0.5, 1.05, "blue", 2)), change(0, instance=2)), id="answered after the undrain"
        ),
        pytest.param(add("overruns", Overrun("blue", 2, 6, 12.0, 12.05)), id="over the limit for an instant"),
        pytest.param(add("overruns", Overrun("blue", 2, 6, 6.0, 7.0)), id="a killed worker had left them to it"),
    ],
)
def test_what_several_processes_may_do_is_no_fault(right: Callable[[Evidence], None]) -> None:
    evidence = in_order()
    right(evidence)
    assert not {GETS, SPARED, LIMIT} & set(faults(evidence))


def test_request_that_was_held_over_a_switch_may_be_answered_by_either() -> None:
    evidence = in_order()
    change(1, start=9.9, heard=11.4, end=11.5, version="green")(evidence)
    assert VERSION not in faults(evidence)


def test_connection_that_was_idle_for_long_or_in_a_killed_worker_may_be_closed() -> None:
    evidence = in_order()
    change(0, error="reset", is_stale=True, idle_s=2.0)(evidence)
    add("seen", Seen("get-5", "get", 5.2, 5.3, 5.3, "blue", 200, idle_s=0.3, found_closed=True))(evidence)
    assert CONNECTIONS not in faults(evidence)


@pytest.mark.parametrize(("start", "idle_s"), [(5.3, 0.2), (4.9, 0.3)], ids=["noted-late", "looked-late"])
def test_client_on_a_busy_machine_may_note_late_what_a_kill_has_done(start: float, idle_s: float) -> None:
    """The answer before it came just before the kill, or the connection was looked at just after its noted start."""
    evidence = in_order()
    add("seen", Seen("get-5", "get", start, 5.5, 5.5, "blue", 200, idle_s=idle_s, found_closed=True))(evidence)
    assert CONNECTIONS not in faults(evidence)


def test_report_names_faults_and_requests() -> None:
    evidence = in_order()
    change(0, error="502")(evidence)
    books = Books(evidence)
    text = report.as_text(books, report.faults(books))
    assert f"❌ {FAILED}: 1\n     get-1 from 1.000 to 1.100: 502" in text
    assert f"✅ {TWICE}: 0" in text
