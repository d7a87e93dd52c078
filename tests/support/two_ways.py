"""A worker's connections with the lane and without: two applications before one version, and what they recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from app.errors import CAUSES
from app.metrics import layout
from app.metrics.histogram import BUCKETS
from app.server.serving import Serving
from app.settings.loading import Loaded
from app.settings.tables.hold_settings import HoldConfig
from app.settings.tables.router_settings import RouterConfig
from app.web import create_app
from tests.support.router_process import write_state

__all__ = ["Way", "settled", "since", "two_ways"]

COUNTS = tuple(name for name in layout.COUNTERS if not name.endswith("_us"))

OF_ITS_TIME = ("time", "request_id", "duration_ms", "upstream_ms")
"""What differs in the log from one time to the next."""


class Way:
    """A worker's connections that go one way, in front of the version at `port`."""

    def __init__(self, folder: Path, port: int, lane: bool) -> None:
        folder.mkdir()
        write_state(folder / "bg_state.json", "blue", blue=port)
        hold = HoldConfig(hold_timeout=0, circuit_failures=0)
        log = folder / "access.jsonl"
        state_file = str(folder / "bg_state.json")
        config = RouterConfig(state_file=state_file, access_log=str(log), read_timeout=5, hold=hold, lane=lane)
        self.app = create_app(Loaded.just(config))
        found = Serving.of(self.app)
        assert found is not None
        self.serving = found
        self._log = log.open()

    def close(self) -> None:
        """Nothing is served after it."""
        self._log.close()
        self.app.service.metrics.close()

    def new_lines(self) -> list[dict[str, object]]:
        """The lines of the access log that came since the last call, without what differs each time."""
        assert self.app.service.records.access_log is not None
        self.app.service.records.access_log.flush()
        lines = [json.loads(text) for text in self._log]
        for line in lines:
            for name in OF_ITS_TIME:
                del line[name]
        return lines

    def figures(self) -> dict[str, int]:
        """All counts of this worker that are not 0, straight from its slot; of times, how many were measured."""
        memory = self.app.service.metrics.mapped.memory
        found: dict[str, int] = {}
        for version, label in enumerate(layout.VERSION_LABELS):
            at = layout.version_at(self.app.service.slot.slot, version)
            raw = memoryview(memory[at * layout.WORD : (at + layout.VERSION_WORDS) * layout.WORD]).cast("Q")
            if not raw[layout.C["started"]]:
                continue
            block = raw.tolist()
            found.update({f"{label} {name}": block[layout.C[name]] for name in COUNTS})
            causes, statuses = block[layout.CAUSES_AT : layout.STATUSES_AT], block[layout.STATUSES_AT :]
            found.update({f"{label} cause {CAUSES[cause]}": count for cause, count in enumerate(causes) if count})
            found.update(
                {f"{label} {code}": count for code, count in enumerate(statuses[: layout.STATUS_ROOM]) if count}
            )
            for number, name in enumerate(layout.LATENCIES):
                begin = layout.HISTOGRAMS_AT + number * BUCKETS
                found[f"{label} {name}"] = sum(block[begin : begin + BUCKETS])
        return {name: count for name, count in found.items() if count}


def two_ways(folder: Path, port: int) -> tuple[Way, Way]:
    """With the lane, and without it."""
    return Way(folder / "lane", port, True), Way(folder / "long", port, False)


def since(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """The figures that are not what they were, by how much."""
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in after.keys() | before.keys()}
    return {name: change for name, change in changes.items() if change}


def settled(raw: bytes) -> bytes:
    """Without what differs from one time to the next: our request ids and the date."""
    raw = re.sub(rb"[0-9a-f]{16}-[0-9a-f]+", b"ID", raw)
    return re.sub(rb"Date: [^\r]+", b"Date: D", raw)
