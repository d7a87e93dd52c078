"""The keys of one issuer in one worker: fetched beside the requests, and used on while the issuer is down."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from logging import getLogger
from typing import Any

import gevent

from app.logins.key_file import KeptKeys, KeyFile
from app.logins.keys import Key, KeySet, keys_of
from app.logins.login_figures import KeyState

__all__ = ["ASK_AGAIN_S", "FRESH_S", "USED_S", "KeySource"]

logger = getLogger(__name__)

FRESH_S = 300.0
"""So long keys are not asked for again, unless a token names another one."""

USED_S = 86_400.0
"""So long they are used when the issuer does not answer: an outage of a day locks nobody out."""

ASK_AGAIN_S = 30.0
"""No more often than this the issuer is asked, whatever tokens name: anybody can invent names of keys."""


class KeySource:
    """Keeps the keys of one address fresh.

    Args:
        address: a URL, or a file.
        fetch: gives the text that is there; raises ValueError that says why it cannot.
        kept: where they are kept; None for a file, which is there anyway.
        clock: wall seconds.
        fresh_s: how long they are not asked for again.

    Attributes:
        on_change: what is called when other keys have come.
    """

    def __init__(
        self,
        address: str,
        fetch: Callable[[str], str],
        kept: KeyFile | None = None,
        clock: Callable[[], float] = time.time,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._address = address
        self._fetch = fetch
        self._kept = kept
        self._fresh_s = fresh_s
        self._clock = clock
        self._keys = KeySet(())
        self._text = ""
        self._fetched_at = 0.0
        self._asked_at = 0.0
        self._fault = ""
        self._fetching: Any = None  # a greenlet while there is one; gevent has no types
        self.on_change: list[Callable[[], None]] = []

    @property
    def has_keys(self) -> bool:
        """Whether there are keys that may be used."""
        return bool(self._keys.keys) and self._clock() - self._fetched_at < USED_S

    def candidates(self, key_id: str, algorithm: str) -> tuple[Key, ...]:
        """The keys that a token may be signed with; none when all are too old."""
        return self._keys.candidates(key_id, algorithm) if self.has_keys else ()

    def state(self) -> KeyState:
        """What there is at this moment."""
        age_s = self._clock() - self._fetched_at if self._keys.keys else None
        return KeyState(self._address, len(self._keys.keys), age_s, self._fault)

    def begin(self) -> None:
        """Takes the keys that lie on this machine, at once: a restart while the issuer is down locks nobody out."""
        if self._kept is None:
            self._look()
        elif (kept := self._kept.read()) is not None:
            self._take(kept)

    # --- asking for them ----------------------------------------------------------------------------------

    @property
    def is_fetching(self) -> bool:
        """Whether they are being asked for now."""
        return bool(self._fetching)  # a greenlet that has ended is false

    @property
    def may_have_news(self) -> bool:
        """Whether it is worth a wait to look for other keys: they are being fetched, or were not asked for just now."""
        return self.is_fetching or self._clock() - self._asked_at >= ASK_AGAIN_S

    def refresh(self) -> Any:
        """Fetches them, unless that is under way; gives the greenlet that does."""
        if not self.is_fetching:
            self._asked_at = self._clock()
            self._fetching = gevent.spawn(self._look)
        return self._fetching

    def keep_fresh(self) -> None:
        """Fetches them when they are old; for who calls it every few seconds."""
        now = self._clock()
        if now - self._fetched_at >= self._fresh_s and now - self._asked_at >= ASK_AGAIN_S:
            self.refresh()

    def _look(self) -> None:
        """Takes what another worker has fetched meanwhile, else what the issuer says."""
        kept = self._kept.read() if self._kept is not None else None
        if kept is not None and self._fetched_at < kept.fetched_at:
            self._take(kept)
            if self._clock() - self._fetched_at < ASK_AGAIN_S:
                self._asked_at = self._fetched_at  # the issuer was asked then, so half a minute counts from there
                return
        try:
            text = self._fetch(self._address)
            self._take_new(KeptKeys(text, self._clock()))
        except ValueError as error:
            self._say(str(error))

    def _take(self, kept: KeptKeys) -> None:
        """Uses what was kept, unless it is of the future, which would make it fresh for ever, or has no keys."""
        if kept.fetched_at <= self._clock():
            with suppress(ValueError):
                self._use(kept)

    def _take_new(self, found: KeptKeys) -> None:
        """Raises ValueError when there is no key in it."""
        self._use(found)
        self._say("; ".join(self._keys.faults))
        if self._kept is not None:
            try:
                self._kept.write(found)
            except OSError as error:
                logger.warning("the keys of %s cannot be kept for a restart: %s", self._address, error)

    def _use(self, found: KeptKeys) -> None:
        if found.text != self._text:
            self._keys = keys_of(found.text)
            self._text = found.text
            for tell in self.on_change:
                tell()
        self._fetched_at = found.fetched_at

    def _say(self, fault: str) -> None:
        """Logs what has changed."""
        if fault != self._fault:
            self._fault = fault
            logger.warning("keys of %s: %s", self._address, fault or "fetched again")
