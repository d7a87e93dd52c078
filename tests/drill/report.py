"""The report of a drill: for each incident what was said, what was typed, and what did not go as it should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from tests.drill.drilling import Record

__all__ = ["as_json", "as_text"]


def as_json(record: Record) -> dict[str, object]:
    """One incident for programs."""
    return asdict(record)


def as_text(records: Sequence[Record]) -> str:
    """The report for people."""
    return "\n".join(line for record in records for line in _lines(record))


def _lines(record: Record) -> Iterator[str]:
    yield f"{'❌' if record.faults else '✅'} {record.name}: {record.failed} requests failed"
    if record.before is not None:
        situation = record.before.deploy_json.get("situation", {})
        yield f"     {situation.get('word')}: {situation.get('sentence')}"
    if record.page:
        yield f"     page: {record.page}"
    yield from (f"     $ {step}" for step in record.steps)
    yield from (f"     ❌ {line}" for fault in record.faults for line in fault.splitlines() if line.strip())
