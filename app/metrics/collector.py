"""`MetricsCollector`: the router's figures, and one's own, from any Python program."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from app.errors import CAUSES
from app.installation import home
from app.metrics import layout
from app.metrics.shared import SharedMetrics, monotonic_us
from app.metrics.slot import SlotWriter
from app.metrics.snapshot import MetricsHistory, Snapshot
from app.operator_errors import MetricsError
from app.settings.loading import TOML_NAME
from app.settings.toml_file import load_settings


def default_path() -> Path:
    """The metrics file of the router set up here: as configured, below `TRAFFIC_ROUTER_HOME` or the project (with a
    package, where the program runs).

    Raises ConfigError when the settings are not usable.
    """
    place = home(os.environ)
    return place / load_settings(path=place / TOML_NAME).config.metrics_path


class MetricsCollector:
    """Reads the shared metrics of a router, and adds a program's own requests to them.

        from utils.monitoring import MetricsCollector

        collector = MetricsCollector()
        print(collector.snapshot().overall.requests)
        collector.record_request("blue", status=200, duration_ms=12.5)

    What is recorded shows in `/__router_metrics` and on the dashboard at once, beside what the router's
    workers counted: they all write into the same file. Usable from several threads; a forked child makes
    its own.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """`path` is the metrics file; without it, the one of the router set up here.

        Nothing is opened yet, so the router need not have run. Raises ConfigError when the settings are not
        usable.
        """
        self.path = Path(path) if path is not None else default_path()
        self._mutex = threading.Lock()
        self._reading: SharedMetrics | None = None
        self._writing: SharedMetrics | None = None
        self._writer: SlotWriter | None = None

    def snapshot(self, window_s: int | None = None) -> Snapshot:
        """The figures over all workers: since the file was made, or of the last `window_s` seconds (1…21600).

        Raises MetricsError when there is no metrics file yet.
        """
        with self._mutex:
            return self._reader().snapshot(window_s)

    def history(self, seconds: int = 600) -> MetricsHistory:
        """What happened when, second by second, or in steps of ten from 601 seconds on; up to 21600.

        Raises MetricsError when there is no metrics file yet.
        """
        with self._mutex:
            return self._reader().history(seconds)

    def record_request(
        self,
        version: str,
        status: int,
        duration_ms: float,
        *,
        bytes_in: int = 0,
        bytes_out: int = 0,
        cause: str = "none",
        first_byte_ms: float | None = None,
        upstream_ms: float | None = None,
    ) -> None:
        """Counts a request of "blue", "green" or "router" as answered just now.

        `cause` is one of `app.errors.CAUSES`. Raises ValueError for an unknown version or cause or a status
        outside 0…599, MetricsError when the file cannot be written.
        """
        if not 0 <= status < layout.STATUS_ROOM:
            raise ValueError(f"status {status} is not one of HTTP's")
        index, cause_index = _index(layout.VERSION_LABELS, version), _index(CAUSES, cause)
        with self._mutex:
            writer = self._own_slot()
            row = writer.start(index, b"", b"", monotonic_us())
            writer.finish(
                row,
                index,
                status=status,
                cause=cause_index,
                bytes_in=max(bytes_in, 0),
                bytes_out=max(bytes_out, 0),
                total_us=_microseconds(duration_ms),
                first_byte_us=_microseconds(first_byte_ms),
                upstream_us=_microseconds(upstream_ms),
            )

    def record_retry(self, version: str) -> None:
        """Counts a further attempt at a request. Raises as `record_request` does."""
        index = _index(layout.VERSION_LABELS, version)
        with self._mutex:
            self._own_slot().count_retry(index)

    def record_held(self, version: str, held_ms: float) -> None:
        """Counts a request that was held back for so long. Raises as `record_request` does."""
        index = _index(layout.VERSION_LABELS, version)
        with self._mutex:
            self._own_slot().count_held(index, _microseconds(held_ms))

    def close(self) -> None:
        """Lets go of the file; the collector opens it again when it is used again."""
        with self._mutex:
            for owned in (self._writer, self._writing, self._reading):
                if owned is not None:
                    owned.close()
            self._writer = self._writing = self._reading = None

    def _reader(self) -> SharedMetrics:
        """The file now at the path: another one after an upgrade to a new layout."""
        if self._reading is None or not self._reading.is_current:
            opened = SharedMetrics.open(self.path)
            if self._reading is not None:
                self._reading.close()
            self._reading = opened
        return self._reading

    def _own_slot(self) -> SlotWriter:
        """The slot of this process, claimed with the first record."""
        if self._writer is None:
            metrics = SharedMetrics.create_or_attach(self.path, layout.slots_for(0))
            writer = metrics.claim_slot(os.getpid(), "script")
            if metrics.fault:
                writer.close()
                metrics.close()
                raise MetricsError(metrics.fault)
            self._writing, self._writer = metrics, writer
        return self._writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _index(names: Sequence[str], name: str) -> int:
    if name not in names:
        raise ValueError(f"{name!r} is none of {', '.join(names)}")
    return names.index(name)


def _microseconds(ms: float | None) -> int:
    return -1 if ms is None else max(0, round(ms * 1000))
