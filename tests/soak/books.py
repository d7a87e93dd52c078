"""The books: pure comparisons of everybody's records. A check gives the faults it has found; none is good.

What may fail is what a killed process had in its hands, and nothing else:

- a request whose connection broke when a worker was killed, and of whose end no worker knows anything;
- a request that the killed application had: the router says so by the cause in its log.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property

from tests.soak.books_of_several import (
    gets_went_to_another_process,
    limit_was_kept,
    spared_processes_were_left_alone,
)
from tests.soak.evidence import Account, Evidence, Kill, Line
from tests.soak.seen import Seen

__all__ = ["CHECKS", "Books"]

SOON_S = 5.0
"""A client on a busy machine learns of a broken connection within this time."""

APP_DIED = frozenset({"upstream_reset", "upstream_truncated"})

ANNOUNCED_S = 1.5
"""A worker that leaves answers on idle connections for two seconds more. A client that comes back later than this
may find its connection closed, as with every server."""

LAG_S = 0.5
"""Between the last byte of an answer, or a look at a connection, and the moment that the client or the worker notes."""

UNWRITTEN_S = 1.0
"""Lines of so long a time are not in the access log yet; a worker that is killed takes its own with it."""

HELD_EXACTNESS = 1 + 1 / 32
"""A receipt may take the longest hold from a histogram."""


class Books:
    """The records of a soak, arranged for the checks."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @cached_property
    def lines(self) -> Mapping[str, list[Line]]:
        """The access log by request id."""
        found: dict[str, list[Line]] = defaultdict(list)
        for line in self.evidence.lines:
            found[line.id].append(line)
        return found

    @cached_property
    def failed(self) -> list[Seen]:
        """What the clients saw fail."""
        return [seen for seen in self.evidence.seen if seen.error]

    @cached_property
    def worker_kills(self) -> list[Kill]:
        return [kill for kill in self.evidence.kills if kill.what == "worker"]

    @cached_property
    def unlogged(self) -> list[Seen]:
        """What was answered, and has no line."""
        return [seen for seen in self.evidence.seen if not seen.error and seen.id not in self.lines]

    def took_its_line(self, seen: Seen) -> bool:
        """Whether a killed worker may have had the line of an answered request, and not written it yet."""
        return any(kill.start - UNWRITTEN_S - LAG_S <= seen.end <= kill.end + LAG_S for kill in self.worker_kills)

    def came_late(self, seen: Seen) -> bool:
        """Whether its connection may have been closed before it was sent, as any server does in the end."""
        return (seen.is_stale or seen.found_closed) and seen.idle_s >= ANNOUNCED_S

    def was_dropped(self, seen: Seen) -> bool:
        """Whether the connection that its client had kept was closed, and no killed worker explains that."""
        since = seen.start - seen.idle_s
        return seen.found_closed and not any(
            since - LAG_S <= kill.end and kill.start <= seen.start + LAG_S for kill in self.worker_kills
        )

    def reason(self, seen: Seen) -> Kill | None:
        """The kill that a failed request is explained by; None when it must not have failed."""
        lines = self.lines.get(seen.id, [])
        for kill in self.evidence.kills:
            if not (seen.start <= kill.end and kill.start <= seen.end <= kill.end + SOON_S):
                continue
            if kill.what == "worker" and not lines and not seen.cause:
                return kill
            if kill.what == "app" and _may_have_had(kill, seen, lines):
                return kill
        return None


def _may_have_had(kill: Kill, seen: Seen, lines: list[Line]) -> bool:
    """Whether a request may have failed in the application's process that was killed."""
    is_another = seen.instance not in (0, kill.instance)
    return not is_another and any(line.version == kill.version and _was_the_app(line) for line in lines)


def _was_the_app(line: Line) -> bool:
    # A tunnel has no cause: bytes end as the application ended them.
    return line.cause in APP_DIED or line.status == 101


def nothing_failed(books: Books) -> list[str]:
    """Requests failed only in processes that were killed."""
    return [_told(seen) for seen in books.failed if not seen.is_stale and books.reason(seen) is None]


def killed_workers_had_what_was_lost(books: Books) -> list[str]:
    """No more was lost with workers than they had. What came at their last moment they may not have read."""
    lost = []
    for seen in books.failed:
        kill = books.reason(seen)
        if kill is not None and kill.what == "worker" and seen.start < kill.start - LAG_S:
            lost.append(seen)
    # All together: of two workers killed one after the other nobody can tell which one had a request.
    had = sum(kill.in_flight + kill.held for kill in books.worker_kills)
    return [] if len(lost) <= had else [f"{had} in killed workers, and these were lost: {[seen.id for seen in lost]}"]


def connections_were_kept(books: Books) -> list[str]:
    """No kept connection broke, or was closed unannounced, but those of workers that were killed."""
    faults = []
    for seen in books.evidence.seen:
        is_broken = seen.is_stale and books.reason(seen) is None
        if (is_broken or books.was_dropped(seen)) and not books.came_late(seen):
            faults.append(f"{_told(seen)}, on a connection that was idle for {seen.idle_s:.3f} s")
    return faults


def posts_ran_once(books: Books) -> list[str]:
    """A POST was executed once when it was answered, never twice, and only when a client had sent it."""
    executed = Counter(execution.key for execution in books.evidence.executions)
    posts = {seen.id: seen for seen in books.evidence.seen if seen.kind == "post"}
    faults = [f"{key} was executed {count} times" for key, count in executed.items() if count > 1]
    faults += [f"{key} was executed, and nobody asked for it" for key in executed if key not in posts]
    faults += [
        f"{key} was answered and not executed" for key, seen in posts.items() if not seen.error and not executed[key]
    ]
    return faults


def versions_were_right(books: Books) -> list[str]:
    """What was sent, and began to be answered, while one version was certainly active was answered by that one.

    A request that is held meanwhile may rightly be sent to another version after that.
    """
    spells = sorted(books.evidence.spells, key=lambda spell: spell.start)
    starts = [spell.start for spell in spells]
    faults = []
    for seen in books.evidence.seen:
        index = bisect_right(starts, seen.start) - 1
        if index < 0 or not seen.version:
            continue
        spell = spells[index]
        if seen.heard <= spell.end and seen.version != spell.version:
            after_ms = (seen.start - spell.start) * 1000
            faults.append(f"{seen.id} was answered by {seen.version}, {after_ms:.1f} ms after {spell.version} had it")
    return faults


def commands_did_their_work(books: Books) -> list[str]:
    """Each command that was left alone ended with exit code 0."""
    return [f"{event.name} at {event.start:.3f}: {event.error}" for event in books.evidence.events if event.error]


def quiet_was_quiet(books: Books) -> list[str]:
    """After `pause --drain` had returned, nothing was executed until `resume`."""
    return [
        f"{execution.key} was executed in a quiet moment"
        for execution in books.evidence.executions
        if any(start < execution.at < end for start, end in books.evidence.quiet)
    ]


def log_has_what_clients_saw(books: Books) -> list[str]:
    """Clients and access log know the same requests, each once; a kill takes the lines of its worker's last second."""
    ids = Counter(seen.id for seen in books.evidence.seen)
    faults = [f"{id_} was recorded {count} times by its client" for id_, count in ids.items() if count > 1]
    faults += [f"{id_} was logged {len(lines)} times" for id_, lines in books.lines.items() if len(lines) > 1]
    faults += [f"{id_} was logged, and no client has sent it" for id_ in books.lines if id_ not in ids]
    faults += [f"{seen.id} was answered and not logged" for seen in books.unlogged if not books.took_its_line(seen)]
    for seen in books.evidence.seen:
        line = books.lines.get(seen.id, [None])[0]
        if line and not seen.error and (line.version, line.status) != (seen.version, seen.status):
            faults.append(f"{seen.id} was answered {seen.status} by {seen.version}, logged as {line}")
    return faults


def metrics_have_what_was_logged(books: Books) -> list[str]:
    """Requests in the metrics = lines of the log + aborted ones, for each version, but for lines that a kill took."""
    logged = Counter(line.version for line in books.evidence.lines)
    logged.update(seen.version for seen in books.unlogged if books.took_its_line(seen))
    faults = []
    for name, figures in books.evidence.figures.items():
        difference = figures.requests - figures.aborted - logged[name]
        if abs(difference) > len(books.worker_kills):
            faults.append(
                f"{name or 'the router'}: {figures.requests} requests in the metrics, of which {figures.aborted} were "
                f"aborted; {logged[name]} in the log"
            )
        if figures.in_flight:
            faults.append(f"{name or 'the router'}: {figures.in_flight} in flight for ever")
    return faults


def aborted_ones_were_in_killed_workers(books: Books) -> list[str]:
    """Aborted requests in the metrics = what the killed workers had in flight."""
    aborted = sum(figures.aborted for figures in books.evidence.figures.values())
    held = sum(kill.in_flight for kill in books.worker_kills)
    return (
        [] if aborted == held else [f"{aborted} aborted in the metrics, {held} in flight in workers that were killed"]
    )


def receipts_have_what_clients_saw(books: Books) -> list[str]:
    """Each receipt balances, and lies between what its clients certainly saw in its time and what they may have."""
    ends = {version: _Ends(books, version) for version in ("blue", "green", "")}
    known = {seen.id for seen in books.failed}
    longest_s = max((seen.end - seen.start for seen in books.evidence.seen), default=0.0)
    faults = []
    for account in books.evidence.accounts:
        told = f"receipt of `{account.command}`, {account.version}"
        if account.started != account.finished + account.cut + account.in_flight:
            faults.append(f"{told}: {account} does not balance")
        least, most = ends[account.version].between(account)
        if not least <= account.started <= most:
            faults.append(f"{told}: {account.started} started, and clients saw from {least} to {most}")
        faults += [f"{told}: {id_} was cut, and its client knows nothing of it" for id_ in {*account.cut_ids} - known]
        if account.held_s > longest_s * HELD_EXACTNESS:
            faults.append(
                f"{told}: held for {account.held_s:.3f} s, and no client waited longer than {longest_s:.3f} s"
            )
    return faults


class _Ends:
    """How many requests of a version were over at a moment, or begun, by the clients' clocks."""

    def __init__(self, books: Books, version: str) -> None:
        certain = [seen for seen in books.evidence.seen if seen.version == version and not seen.error]
        perhaps = [seen for seen in books.evidence.seen if seen.version == version or not seen.version or seen.error]
        self._certain = sorted(seen.end for seen in certain)
        self._ends = sorted(seen.end for seen in perhaps)
        self._starts = sorted(seen.start for seen in perhaps)

    def between(self, account: Account) -> tuple[int, int]:
        """The least and the most that can have been started, or in flight, in the time of an account."""
        first = bisect_left(self._certain, account.start + LAG_S)
        least = max(0, bisect_right(self._certain, account.end - LAG_S) - first)
        begun = bisect_right(self._starts, account.end + LAG_S)
        over = bisect_left(self._ends, account.start - LAG_S)
        return least, begun - over


def _told(seen: Seen) -> str:
    return f"{seen.id} from {seen.start:.3f} to {seen.end:.3f}: {seen.error} {seen.cause}".rstrip()


CHECKS: Mapping[str, Callable[[Books], list[str]]] = {
    "requests failed outside of killed processes": nothing_failed,
    "requests lost that no killed worker had": killed_workers_had_what_was_lost,
    "connections broken between two requests": connections_were_kept,
    "POSTs executed twice, or not at all": posts_ran_once,
    "answers of the wrong version": versions_were_right,
    "commands that failed": commands_did_their_work,
    "executions in a quiet moment": quiet_was_quiet,
    "clients ≠ access log": log_has_what_clients_saw,
    "access log + aborted ≠ metrics": metrics_have_what_was_logged,
    "aborted ≠ in flight in killed workers": aborted_ones_were_in_killed_workers,
    "receipts ≠ clients": receipts_have_what_clients_saw,
    "GETs lost with one of several processes": gets_went_to_another_process,
    "answers of a drained process": spared_processes_were_left_alone,
    "processes with more than max_in_flight": limit_was_kept,
}
"""What must never be: its name → the function that finds it."""
