"""What must never be where a version has several processes, or gets only so many requests at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.soak.books import Books

__all__ = ["gets_went_to_another_process", "limit_was_kept", "spared_processes_were_left_alone"]

BRIEF_S = 0.1
"""An application learns of the end of a tunnel so much later than the router."""

ABANDONED_S = 6.0
"""For so long an application may go on with what a killed worker has left to it."""


def gets_went_to_another_process(books: Books) -> list[str]:
    """A GET that a killed process had, and of whose answer nothing had come, was answered by another one."""
    faults = []
    for seen in books.failed:
        kill = books.reason(seen) if seen.kind == "get" else None
        if kill is not None and kill.others and any(line.cause == "upstream_reset" for line in books.lines[seen.id]):
            faults.append(f"{seen.id} failed with {kill.version}.{kill.instance}, and {kill.others} others served")
    return faults


def spared_processes_were_left_alone(books: Books) -> list[str]:
    """What was sent after `drain` had returned was not answered by that process until `undrain`."""
    return [
        f"{seen.id} was answered by {seen.version}.{seen.instance}, {seen.start - spared.start:.3f} s after its drain"
        for spared in books.evidence.spared
        for seen in books.evidence.seen
        if (seen.version, seen.instance) == (spared.version, spared.instance)
        and spared.start <= seen.start
        and seen.heard <= spared.end
    ]


def limit_was_kept(books: Books) -> list[str]:
    """No process had more requests at a time than `max_in_flight`, but what killed workers had left to it."""
    return [
        f"{over.version}.{over.instance} had up to {over.most} requests, from {over.start:.3f} to {over.end:.3f}"
        for over in books.evidence.overruns
        if over.end - over.start > BRIEF_S
        and not any(over.start - ABANDONED_S <= kill.end and kill.start <= over.end for kill in books.worker_kills)
    ]
