"""Limits: whoever asks too often, or for too much at once, waits for a moment or is told so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from logging import getLogger
from time import monotonic_ns
from typing import Final

from app.errors import RateLimited
from app.limits.limits_map import COUNTS
from app.limits.rate import Rate
from app.limits.shared_limits import SharedLimits
from app.notices import Notices
from app.protocol.path_patterns import PathPatterns
from app.proxy.chain import Verdict, Wait
from app.proxy.limit_keys import key_of, key_text
from app.proxy.limited import Limited
from app.proxy.transaction import Transaction
from app.proxy.waiting_room import WaitingRoom
from app.settings.tables.limit_settings import LimitConfig

__all__ = ["LimitsFilter"]

logger = getLogger(__name__)

_PASSED: Final = COUNTS.index("passed")
_REFUSED: Final = COUNTS.index("refused")
_DELAYED: Final = COUNTS.index("delayed")
_WOULD_REFUSE: Final = COUNTS.index("would_refuse")

_SOON_NS: Final = 1_000_000
"""A wait that is shorter than this is over: timers are no finer."""


class DelayRoom(WaitingRoom):
    """Where each request waits for a moment of its own, which comes by itself."""

    _LONGEST_TICK_S = 1.0

    def _due(self) -> int:
        return 0


class LimitsFilter:
    """The limits of one worker.

    Args:
        shared: what they are counted in.
        numbers: which of its limits are asked here.
    """

    def __init__(self, shared: SharedLimits, numbers: Sequence[int]) -> None:
        self._limits = [_Limit(shared, number) for number in numbers]
        self._asked = numbers[-1] + 1
        self._room = DelayRoom()

    @classmethod
    def of(cls, shared: SharedLimits, has_login: bool) -> LimitsFilter | None:
        """For the limits that need a login, or for the others; None where there are none."""
        numbers = [number for number, limit in enumerate(shared.limits) if limit.needs_login == has_login]
        return cls(shared, numbers) if numbers else None

    def __call__(self, transaction: Transaction) -> Verdict:
        """Asks each limit that is about the request, once; the first one that says no ends it."""
        note = transaction.limited
        if note is not None:
            if note.until_ns and (wait := self._wait(note)) is not None:
                return wait
            if note.asked >= self._asked:
                return None
        head = transaction.request.head
        for limit in self._limits:
            if (not limit.methods or head.method in limit.methods) and limit.paths.may_cover(head.target):
                if note is None:
                    note = transaction.limited = Limited()
                if limit.number < note.asked:
                    continue
                refusal = limit.judge(transaction, note)
                if refusal is not None:
                    return refusal
                note.asked = limit.number + 1
                if note.until_ns and (wait := self._wait(note)) is not None:
                    return wait
        return None

    def _wait(self, note: Limited) -> Verdict:
        """The rest of a delay; None when it is over, and the limits behind it are to be asked."""
        left_ns = note.until_ns - monotonic_ns()
        if left_ns > _SOON_NS:
            return Wait(self._room, _uncounted, left_ns / 1e9)
        note.until_ns = 0
        return None


def _uncounted(_waited_us: int) -> None:
    pass


class _Limit:
    """One limit, as one worker asks it.

    Attributes:
        number: its place among all limits.
        methods, paths: what it is about; no methods are all.
    """

    __slots__ = (
        "_config",
        "_delay_ns",
        "_does",
        "_error",
        "_hash",
        "_key",
        "_notices",
        "_policy",
        "_rate",
        "_shared",
        "methods",
        "number",
        "paths",
    )

    def __init__(self, shared: SharedLimits, number: int) -> None:
        config = shared.limits[number]
        self._shared = shared
        self.number = number
        self._config = config
        self.methods = frozenset(method.encode() for method in config.methods)
        self.paths = PathPatterns(config.path)
        self._key = key_of(config.key)
        self._hash = shared.hash_of(config)
        self._rate = Rate.parse(config.rate, config.burst) if config.rate else None
        self._delay_ns = int(config.delay * 1e9)
        self._policy = ("RateLimit-Policy", _policy(config, self._rate))
        does = "would refuse (dry_run)" if config.dry_run else "refuses"
        self._does = f"limit {config.name} ({config.rate or f'{config.in_flight} in flight'}) {does} "
        self._error = RateLimited(self._does, 0)
        self._notices = Notices(logger)

    def judge(self, transaction: Transaction, note: Limited) -> RateLimited | None:
        """Counts a request; gives what its client is told if it does not pass, and notes until when it waits."""
        key, shared = self._key(transaction.request, transaction.claims), self._shared
        hashed = self._hash.of(key)
        if self._rate is not None:
            now_ns = monotonic_ns()
            wait_ns = shared.rates.hit(hashed, self._rate, self._delay_ns, now_ns)
            is_refused = wait_ns > self._delay_ns
            if 0 < wait_ns <= self._delay_ns:
                shared.counts.count(self.number, _DELAYED)
                note.name = self._config.name
                if not self._config.dry_run:
                    note.until_ns = now_ns + wait_ns
        else:
            wait_ns = 0
            place = shared.in_flight.enter(hashed, self._config.in_flight)
            is_refused = place < 0
            if place > 0:
                note.leaves.append(partial(shared.in_flight.leave, place))
        if not is_refused:
            shared.counts.count(self.number, _PASSED)
            return None
        return self._refusal(note, key, hashed, wait_ns)

    def _refusal(self, note: Limited, key: bytes, hashed: int, wait_ns: int) -> RateLimited | None:
        """Notes a refusal, and gives it unless this is a dry run."""
        config, counts = self._config, self._shared.counts
        note.name = config.name
        counts.count(self.number, _WOULD_REFUSE if config.dry_run else _REFUSED)
        now_ns = monotonic_ns()
        if not counts.note_again(hashed, now_ns):
            counts.note_refused(self.number, hashed, key_text(config.key, key, hashed), now_ns)
        if self._notices.is_due():
            self._notices.say(self._does + key_text(config.key, key, hashed).decode("latin-1"))
        return None if config.dry_run else self._error_of(max(1, -(-wait_ns // 10**9)))

    def _error_of(self, seconds: int) -> RateLimited:
        """What the refused are told; one and the same for all who are to wait equally long."""
        if self._error.retry_after_s != seconds:
            name = self._config.name
            left = f'"{name}";r=0;t={seconds}' if self._config.rate else f'"{name}";r=0'
            self._error = RateLimited(self._does, seconds, (self._policy, ("RateLimit", left)))
        return self._error


def _policy(config: LimitConfig, rate: Rate | None) -> str:
    """The limit as clients are told of it (draft-ietf-httpapi-ratelimit-headers-10 §3)."""
    if rate is None:
        return f'"{config.name}";q={config.in_flight};qu="concurrent-requests"'
    return f'"{config.name}";q={rate.requests};w={rate.per_s}'
