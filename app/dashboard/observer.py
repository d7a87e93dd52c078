"""Looks at the router, its metrics, its state and its history, and makes one observation of it all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from app.dashboard.backend_list import RecentRequests
from app.dashboard.observation import Observation, Past
from app.dashboard.timeline import Timeline
from app.deploy.conduct.canary_record import read_record
from app.deploy.processes.process_table import Processes, is_same_process
from app.deploy.processes.reconcile import ends_of_crashed, restarts_of
from app.deploy.record.history import History
from app.event_file import EventFile
from app.metrics.recent import Recently
from app.metrics.shared import SharedMetrics
from app.metrics.snapshot import Snapshot
from app.metrics.throttled import Throttled
from app.operator_errors import StateError
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS
from app.state.watch import StateWatch
from app.survey import HERE, Whereabouts, as_they_are, recent_of

if TYPE_CHECKING:  # most machines belong to no fleet
    from app.fleet.sight import FleetSight, Standing

__all__ = ["Observer"]

SHORT = (1, 2, 300)
LONG = (10, 6, 360)
"""Seconds of a step, steps of a column, columns: ten minutes in columns of 2 s, six hours in columns of a minute."""

HISTORY_BYTES = 65_536
"""The end of the history file that is read: a hundred commands and more. The page shows thirty, and annotations of
six hours; each change of the file costs some milliseconds for so much, in which the worker serves nobody."""

HISTORY_S = 6 * 3600.0

T = TypeVar("T")


class Observer:
    """Observes for one worker. Not for two greenlets at a time.

    Args:
        config: where the files are.
        metrics: the figures of all workers.
        watch: the state file.
        pause: lets others work in the middle of a long look.
        where: where the versions listen.
        fleet: what the agent last saw of the machine's fleet; None where it belongs to none.
        clock, now: monotonic and wall time in seconds.
    """

    def __init__(
        self,
        config: RouterConfig,
        metrics: SharedMetrics,
        watch: StateWatch,
        pause: Callable[[], None],
        where: Whereabouts = HERE,
        with_policy: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot,
        fleet: Callable[[], tuple[FleetSight | None, Standing] | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._watch = watch
        self._pause = pause
        self._where = where
        self._with_policy = with_policy
        self._fleet = fleet
        self._clock = clock
        self._now = now
        self._short = Timeline(*SHORT, metrics.series, pause, is_counted=config.metrics_enabled)
        self._long = Timeline(*LONG, metrics.series, pause, is_counted=config.metrics_enabled)
        self._processes = Processes(Path(config.state_file).parent)
        self._recently = Recently(metrics, clock)
        self._lifetime = Throttled(metrics.snapshot, clock)
        history, events = (Path(config.beside_state(name)) for name in ("history.jsonl", "events.jsonl"))
        self._commands = _Kept(history, lambda: tuple(History(history).entries(HISTORY_BYTES)))
        self._events = _Kept(events, lambda: tuple(EventFile(events).read(self._now() - HISTORY_S, HISTORY_BYTES)))
        self._rates = _WorkerRates()
        self._backend_requests = RecentRequests()

    @property
    def pasts(self) -> Mapping[str, Past]:
        """The columns of both spans as they were last read."""
        return {"short": self._short.last, "long": self._long.last}

    def look(self) -> Observation:
        """Everything at this moment."""
        at, monotonic_s = self._now(), self._clock()
        short, long = self._short.past(monotonic_s, at), self._long.past(monotonic_s, at)
        self._pause()
        minute = self._recently.minute
        self._pause()
        lifetime = self._lifetime.value()
        self._pause()
        # What a deploy is watched by belongs to one moment, with no pause within.
        minute = self._fresh(minute)
        commands = self._commands.read()
        state = self._watch.current()
        at_work = [entry for entry in commands if entry.outcome is None and is_same_process(entry.pid, entry.birth)]
        minute = self._with_policy(minute._replace(backends=self._where.backends(state, self._metrics)))
        found = self._processes.find_all(state)
        if state is not None:
            state = as_they_are(state, found, is_settled=not at_work)
        return Observation(
            at=at,
            state=state,
            state_fault=self._watch.fault,
            lifetime=lifetime,
            minute=minute,
            short=short,
            long=long,
            commands=commands,
            events=self._events.read(),
            at_work=at_work,
            recent=recent_of(self._recently, state, at),
            ended_at=ends_of_crashed(state, found),
            restarts=restarts_of(found),
            elsewhere=self._where.elsewhere(state),
            backend_requests=self._backend_requests.update(minute.backends, monotonic_s),
            worker_rates=self._rates.update(minute),
            canary=read_record(Path(self._config.beside_state(""))) if state is not None and state.split else None,
            fleet=self._fleet(),
            metrics_on=self._config.metrics_enabled,
        )

    def _fresh(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what a deploy is watched by brought up to this moment: in flight, and health."""
        metrics = self._metrics
        rows = metrics.in_flight_rows()
        versions = {
            name: stats._replace(in_flight=metrics.in_flight(name)) for name, stats in snapshot.versions.items()
        }
        in_flight = sum(stats.in_flight for stats in versions.values())
        return snapshot._replace(
            rows=rows,
            versions=versions,
            overall=snapshot.overall._replace(in_flight=in_flight),
            probes={name: metrics.probes(index) for index, name in enumerate(VERSIONS)},
            fault=metrics.fault,
        )


class _Kept(Generic[T]):
    """What is in a file, read again only when it has changed; what was last read when it cannot be."""

    def __init__(self, path: Path, read: Callable[[], Sequence[T]]) -> None:
        self._path = path
        self._read = read
        self._seen: tuple[int, int] | None = None
        self._content: Sequence[T] = ()

    def read(self) -> Sequence[T]:
        """Its content, oldest first."""
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._content, self._seen = self._read(), seen
        except (OSError, StateError):
            pass
        return self._content


class _WorkerRates:
    """Requests per second of each worker, between one look and the next."""

    def __init__(self) -> None:
        self._before: Mapping[int, int] = {}
        self._at = 0.0
        self._rates: dict[int, float] = {}

    def update(self, snapshot: Snapshot) -> dict[int, float]:
        """The rates since the last snapshot, by pid; a worker that is new has none yet."""
        if snapshot.at == self._at:
            return self._rates
        counts = {worker.pid: worker.requests for worker in snapshot.workers}
        elapsed = max(snapshot.at - self._at, 0.001)
        rates = {
            pid: max(0, count - self._before[pid]) / elapsed for pid, count in counts.items() if pid in self._before
        }
        self._before, self._at, self._rates = counts, snapshot.at, rates
        return rates
