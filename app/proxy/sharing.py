"""Requests that two versions share: which of them goes where, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from random import random
from secrets import randbits
from time import monotonic
from typing import Any, Final, Protocol
from zlib import crc32

from app.errors import FAILURES, HandoverCut, WorkerStopped
from app.metrics.split_clients import FAILED, SLOW50, SLOW95, Closed
from app.metrics.split_words import MOST_SEEN
from app.proxy.client_request import ClientRequest
from app.proxy.limit_keys import KeyOf, key_of
from app.proxy.passage import NO_CLAIMS
from app.state.model import VERSIONS, other
from app.state.split import WHOLE, Split

__all__ = ["NOT_SHARED", "Assignment", "Sharing", "SplitCounter", "SplitTally", "is_client_id"]

NOT_SHARED: Final = -1
"""In place of a version: the request was not given to one by chance."""

_OURS: Final = frozenset((HandoverCut.cause, WorkerStopped.cause))
"""What no version is to blame for."""

_NEVER_MS: Final = 1e15
_POINTS: Final = 2.0**-53
_POINT_SHIFT: Final = 11
_ID_LENGTH: Final = 32


class SplitTally(Protocol):
    """Where what became of requests is counted; `app.metrics.split_words.SplitWords` in a worker."""

    def count_request(self, version: int, bits: int) -> None:
        """One more request has come to its end."""

    def count_client(self, version: int, bits: int) -> None:
        """One more client is known."""

    def say_seen(self, version: int, clients: int) -> None:
        """Of how many different clients there were requests at a version."""


class Clients(Protocol):
    """Which clients are counted already; `app.metrics.split_clients.SplitClients` in a worker."""

    def note(self, key: int, epoch: int, version: int, bits: int, now_s: int) -> int:
        """Notes a request that has come to its end; gives the bits to count its client with, or -1."""

    def sweep(self, epoch: int, now_s: int) -> list[Closed]:
        """Closes those that have been open for long enough."""


def is_client_id(value: bytes) -> bool:
    """Whether a cookie's value is one that we could have made."""
    return len(value) == _ID_LENGTH and not value.strip(b"0123456789abcdef")


def epoch_of(split: Split) -> int:
    """Stands for a split with this weight, 1…65535."""
    return crc32(repr((split.canary, split.weight, split.salt)).encode()) & 0xFFFF or 1


class Sharing:
    """One split, as one worker acts by it.

    Attributes:
        split: as the state has it.
        canary, stable: the two versions, by index.
        share, until: of the requests, from 0 to 1, and up to which wall time.
        keeps_clients: whether each client stays at its version.
        uses_cookie: whether clients are told apart by a cookie of ours.
        epoch: see `epoch_of`.
        slow50_us, slow95_us, slow_us: beyond which a request is slow, and the lower one of both.
    """

    __slots__ = (
        "_key_of",
        "_seed",
        "canary",
        "epoch",
        "keeps_clients",
        "share",
        "slow50_us",
        "slow95_us",
        "slow_us",
        "split",
        "stable",
        "until",
        "uses_cookie",
    )

    def __init__(self, split: Split) -> None:
        self.split = split
        self.canary = VERSIONS.index(split.canary)
        self.stable = VERSIONS.index(other(split.canary))
        self.share = split.weight / WHOLE
        self.keeps_clients = split.sticky != "off"
        self.uses_cookie = split.sticky == "cookie"
        self._key_of: KeyOf | None = None
        if self.keeps_clients and not self.uses_cookie:
            self._key_of = key_of((split.sticky,))
        self._seed: Any = blake2b(key=split.salt.encode("utf-8", "surrogatepass"), digest_size=8)
        self.epoch = epoch_of(split)
        slow50_ms, slow95_ms = split.slow_ms or (_NEVER_MS, _NEVER_MS)
        self.slow50_us, self.slow95_us = int(slow50_ms * 1000), int(slow95_ms * 1000)
        self.slow_us = min(self.slow50_us, self.slow95_us)
        self.until = split.until

    def assign(self, assignment: Assignment, request: ClientRequest) -> None:
        """Gives a request to one of the two versions: at each call with the same split to the same one."""
        if not self.keeps_clients:
            if assignment.point < 0.0:
                assignment.point = random()
        elif assignment.sharing is not self:
            if self._key_of is not None:
                identity = self._key_of(request, NO_CLAIMS)
            else:
                if not assignment.client_id:
                    assignment.client_id = assignment.new_cookie = b"%032x" % randbits(128)
                identity = assignment.client_id
            seed = self._seed.copy()
            seed.update(identity)
            assignment.key = int.from_bytes(seed.digest(), "big") or 1
            assignment.point = (assignment.key >> _POINT_SHIFT) * _POINTS
        assignment.sharing = self
        assignment.version = self.canary if assignment.point < self.share else self.stable


class Assignment:
    """How one request was shared out. It is made while the state has a split, and noted in the transaction.

    Attributes:
        sharing: by what; None until it was.
        version: the one that it was given to, by index; `NOT_SHARED` where it was not.
        point: where it lies between 0 and 1; below the canary's share it goes there.
        key: stands for its client, where each stays at its version.
        client_id: the value of the client's cookie, or of the one that it gets; b"" for none.
        new_cookie: the value of the cookie that the answer is to set; b"" for none.
        has_failed: its first attempt has, whatever came of it then.
        is_moved: it goes to the stable version, because the canary has failed it.
    """

    __slots__ = ("_counter", "client_id", "has_failed", "is_moved", "key", "new_cookie", "point", "sharing", "version")

    def __init__(self, counter: SplitCounter) -> None:
        self._counter = counter
        self.sharing: Sharing | None = None
        self.version = NOT_SHARED
        self.point = -1.0
        self.key = 0
        self.client_id = self.new_cookie = b""
        self.has_failed = self.is_moved = False

    @property
    def is_settled(self) -> bool:
        """Whether a version has failed it: it counts there, and whatever the split is by now, it goes to the stable."""
        return self.has_failed or self.is_moved

    def is_on_canary(self, version: int) -> bool:
        """Whether it was given to the canary and is there, on that version."""
        return self.sharing is not None and self.version == self.sharing.canary == version

    def end(self, request: ClientRequest, version: int, status: int, cause: str, total_us: int, is_timed: bool) -> None:
        """Counts a request that has come to its end, once.

        Args:
            version: the one that it was on in the end.
            status, cause: what the client saw, and one of `app.errors.CAUSES`.
            total_us: how long it took.
            is_timed: whether that says anything; not of a stream, which lasts as long as it likes.
        """
        given = self.version
        if given == NOT_SHARED or cause in _OURS or not (self.has_failed or version == given):
            return
        bits = FAILED if self.has_failed or status >= 500 or cause in FAILURES else 0
        sharing = self.sharing
        assert sharing is not None
        if is_timed and total_us > sharing.slow_us:
            bits |= (SLOW50 if total_us > sharing.slow50_us else 0) | (SLOW95 if total_us > sharing.slow95_us else 0)
        self._counter.count(sharing, given, self.key, request, bits)


class SplitCounter:
    """What one worker counts of all splits.

    Args:
        tally: where it counts.
        clients: which of them are counted already.
        now: monotonic seconds.
    """

    __slots__ = ("_clients", "_now", "_seen", "_seen_of", "_tally")

    def __init__(self, tally: SplitTally, clients: Clients, now: Callable[[], float] = monotonic) -> None:
        self._tally = tally
        self._clients = clients
        self._now = now
        self._seen: tuple[set[str], set[str]] = (set(), set())
        self._seen_of = ("", "")

    def count(self, sharing: Sharing, version: int, key: int, request: ClientRequest, bits: int) -> None:
        """Counts a request that was given to a version, and its client where it is time to."""
        self._tally.count_request(version, bits)
        if sharing.keeps_clients:
            found = self._clients.note(key, sharing.epoch, version, bits, int(self._now()))
            if found >= 0:
                self._tally.count_client(version, found)
        if len(self._seen[version]) < MOST_SEEN:
            self._note_seen(sharing.split, version, request.client_address)

    def sweep(self, split: Split) -> None:
        """Counts clients that have fallen silent; for one of the workers, once a second."""
        if split.sticky != "off":
            for closed in self._clients.sweep(epoch_of(split), int(self._now())):
                self._tally.count_client(closed.version, closed.bits)

    def _note_seen(self, split: Split, version: int, client: str) -> None:
        if self._seen_of != (split.canary, split.salt):
            self._seen_of = (split.canary, split.salt)
            self._seen = (set(), set())
            for one in range(len(VERSIONS)):
                self._tally.say_seen(one, 0)
        seen = self._seen[version]
        seen.add(client)
        self._tally.say_seen(version, len(seen))
