"""Everything one worker needs to proxy, built once, after gevent has patched."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from app.access import Access
from app.address import Address
from app.logins.login_figures import LoginFigures
from app.metrics.backend_words import BackendWords
from app.metrics.layout import slots_for
from app.metrics.leader import Turn
from app.metrics.shared import SharedMetrics, monotonic_us, until_next_second
from app.metrics.snapshot import Probe, Snapshot
from app.proxy.access_log import AccessLog
from app.proxy.exchange_recorder import ExchangeRecorder
from app.proxy.filters import chain_of
from app.proxy.forwarder import Forwarder, Timeouts
from app.proxy.long_lived import Handover
from app.proxy.replies.audience import Audience
from app.proxy.sending.retrier import Retrier
from app.proxy.sending.retry_budget import RetryBudget
from app.proxy.sharing import SplitCounter
from app.proxy.transaction import RequestRecorder
from app.routing.canary_guard import CanaryGuard
from app.routing.failover import Failover, FailureDetector
from app.routing.router import TrafficRouter
from app.settings.loading import Loaded
from app.settings.tables.canary_settings import CanaryConfig
from app.settings.tables.limit_settings import LimitConfig
from app.settings.tables.login_settings import LoginConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS, VersionState
from app.transport.endpoint import wait_for_either
from app.transport.names import Names
from app.upstream.adapter import UpstreamAdapter
from app.upstream.exchange import ExchangeTimeouts
from app.upstream.pool import ConnectionPool
from app.upstream.probe import best_of, probe
from app.upstream.session import UpstreamSession

if TYPE_CHECKING:  # a worker without limits and logins imports nothing of them
    from app.limits.shared_limits import SharedLimits
    from app.logins.logins import Logins

__all__ = ["Service", "metrics_slots", "worker_count"]

logger = getLogger(__name__)


def worker_count(config: RouterConfig) -> int:
    """How many workers run: as configured, else one per core that this process may use."""
    return config.workers or len(os.sched_getaffinity(0))


def metrics_slots(config: RouterConfig) -> int:
    """Places in the metrics file for as many workers as the settings ask for."""
    return slots_for(worker_count(config))


def _shared_limits(settings: Loaded) -> SharedLimits | None:
    """What limits are counted in; None where there are none."""
    configs = settings.every(LimitConfig)
    if not configs:
        return None
    from app.limits.shared_limits import SharedLimits

    limits = SharedLimits.open(settings.config.limits_path, configs)
    if limits.fault:
        logger.warning("%s", limits.fault)
    return limits


def _logins(settings: Loaded) -> Logins | None:
    """The logins; None where there are none."""
    configs = settings.every(LoginConfig)
    if not configs:
        return None
    from app.logins.logins import Logins

    return Logins(configs, Path(settings.config.beside_state("")))


class Service:
    """The parts of one worker's proxy, wired together.

    `metrics` was made in the master, for all its workers; a worker of another master makes them itself.
    `tell_failover` is called in one of them for each failover and each return; it must not wait.

    Attributes:
        settings: all of them; `config` and `app_config` are those of the router and of `[app]`.
        access: who may see what is inside.
        metrics: the file that all workers share.
        limits: what they count `[[limit]]`s in; None where there are none.
        logins: the `[[login]]`s; None where there are none.
        router, forwarder, records, timeouts, admission, budget, failover, split_counter: see their classes.
    """

    def __init__(
        self,
        settings: Loaded,
        metrics: SharedMetrics | None = None,
        tell_failover: Callable[[list[Turn]], None] = lambda turns: None,
    ) -> None:
        self.settings = settings
        self.config = config = settings.config
        self.app_config = app_config = settings.app
        self.metrics = metrics or SharedMetrics.create_or_attach(config.metrics_path, metrics_slots(config))
        self.slot = self.metrics.claim_slot(os.getpid())
        if self.metrics.fault:
            logger.warning("%s", self.metrics.fault)
        self.timeouts = Timeouts(config)
        self._words: dict[int, BackendWords] = {}
        self.names = Names(self._look_up_soon)
        self._looking_up = Event()
        self._resolver: Any = None  # a greenlet, once there is a name; gevent has no types
        self.router = TrafficRouter(
            config,
            self.slot,
            self._open_session,
            app_config.address,
            app_config.ports,
            settings.backends,
            self._words_of,
            gevent.get_hub().loop.now,
            self.names,
        )
        access_log = None
        if config.access_log:
            access_log = AccessLog(config.access_log, config.log, self.slot, config.name)
            weakref.finalize(self, access_log.flush)  # of workers of gunicorn's own, which tell nobody of their end
        self.records = RequestRecorder(self.slot, access_log, config.metrics_enabled, config.metrics_exclude)
        self.limits = _shared_limits(settings)
        self.logins = _logins(settings)
        queues = partial(self.metrics.queue, self.slot)
        self.split_counter = SplitCounter(self.metrics.split(self.slot), self.metrics.split_clients(self.slot))
        chain, self.admission = chain_of(
            settings, self.router, self.slot, queues, self.limits, self.logins, self.split_counter
        )
        self.budget = RetryBudget(config.hold.retry_budget / 100, config.hold.retry_floor, self.slot.requests)
        self.failover = Failover(config, self.router, self.metrics.probes, self._note_diversion)
        self._canary_guard = CanaryGuard(self.router, self.metrics.probes)
        failures = FailureDetector(config.hold.circuit_failures, self.failover.divert)
        retrier = Retrier(config, self.router, chain, failures, self.budget, self.slot)
        self.access = Access(config)
        audience = Audience(config.show_cause, self.access)
        tells = settings.of(CanaryConfig).tell
        self.forwarder = Forwarder(config, audience, self.records, self.timeouts, chain, failures, retrier, tells)
        self.recording = ExchangeRecorder(config, self.forwarder, self.records)
        self.handover = Handover.of(config)
        self._tell_failover = tell_failover
        self._state_fault = ""

    def _open_session(self, address: Address) -> UpstreamSession:
        config, waits = self.config, self.timeouts
        pool = ConnectionPool(address, config.pool_size, waits.connecting, config.pool_idle_timeout)
        limits = ExchangeTimeouts(waits.reading, waits.body, waits.sending, wait_for_either)
        return UpstreamSession(UpstreamAdapter(pool, limits))

    def _words_of(self, version: int) -> BackendWords:
        """What this worker says of the backends of a version, by its index."""
        words = self._words.get(version)
        if words is None:
            words = self._words[version] = self.metrics.backends(self.slot, version)
        return words

    def with_policy(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot, and what limits and logins have done so far, where there are some."""
        if (limits := self.limits) is not None:
            snapshot = snapshot._replace(limits=limits.figures(), refused=limits.refused_keys())
        if self.logins is not None:
            snapshot = snapshot._replace(logins=LoginFigures(self.metrics.logins(), self.logins.keys()))
        return snapshot

    def start(self) -> None:
        """Starts what goes on beside the requests: the heartbeat, and in one of the workers the leader's duties."""
        gevent.spawn(self._beat)
        gevent.spawn(self._check_health)
        if self.logins is not None:
            self.logins.start()

    def _beat(self) -> None:
        """Once a second: the heartbeat, the history, and the state file's health."""
        while True:
            state = self.router.look()
            self._note_state_fault()
            self.slot.beat(time.monotonic_ns() // 1000, bool(self._state_fault))
            active = state.active if state is not None else None
            canary = self.router.canary_target
            # What has no end by itself is ended on a version that has no requests any more.
            self.records.long_lived.look(
                active.index if active is not None else None,
                self.handover,
                canary.version if canary is not None else None,
            )
            self.budget.tick()
            for words in self._words.values():
                words.settle()
            if self.records.access_log is not None:
                self.records.access_log.flush()
            self.recording.look()
            self.failover.look_again()
            self._canary_guard.look_again()
            if self.metrics.try_lead():
                self.metrics.fold()
                if state is not None and state.split is not None:
                    self.split_counter.sweep(state.split)
                self._follow_failover(active)
            gevent.sleep(until_next_second())

    def _look_up_soon(self) -> None:
        self._looking_up.set()
        self._resolver = self._resolver or gevent.spawn(self._look_up)

    def _look_up(self) -> None:
        """Looks up the names of backends, each `resolve_interval` and when there is a new one."""
        while True:
            self._looking_up.clear()
            if self.names.look():
                self.router.renew()
            self._looking_up.wait(self.settings.backends.resolve_interval)

    def _note_diversion(self, version: int | None) -> None:
        self.slot.divert(version, monotonic_us())

    def _follow_failover(self, active: VersionState | None) -> None:
        # One that a switch has ended does not lead back; the command tells of itself.
        active_index = None if active is None else active.index
        turns = [turn for turn in self.metrics.follow_failover() if not turn.is_back or turn.version == active_index]
        if turns:
            self._tell_failover(turns)

    def _note_state_fault(self) -> None:
        fault = self.router.state.fault
        if fault != self._state_fault:
            self._state_fault = fault
            logger.warning("%s", fault or "the state file can be read again")

    def _check_health(self) -> None:
        """Probes both versions each `health_check_interval`, in the leading worker only."""
        while True:
            state = self.router.look()
            if state is not None and self.metrics.try_lead():
                for index, name in enumerate(VERSIONS):
                    check = self.probe(state.version(name))
                    latency_us = int(check.latency_ms * 1000)
                    self.metrics.write_probe(index, check.at, check.ok, check.status, latency_us, check.reason)
            gevent.sleep(self.config.health_check_interval)

    def probe(self, version: VersionState) -> Probe:
        """Makes one health check now; of a version with several backends the best one of theirs.

        The leading worker tells the others which of these are not well.
        """
        addresses = [backend.address for backend in self.router.backends_of(version)]
        checks = [gevent.spawn(probe, address, self.app_config) for address in addresses]
        gevent.joinall(checks, raise_error=True)
        results = [check.get() for check in checks]
        if len(results) > 1 and self.metrics.try_lead():
            words = self._words_of(version.index)
            for address, result in zip(addresses, results, strict=True):
                words.say_checked(address, result.ok)
        best = best_of(results)
        return Probe(time.time(), best.ok, best.status or 0, best.latency_ms, best.reason)
