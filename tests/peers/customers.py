"""Customers of a shop, who ask without pause while a test deploys: small requests, slow answers, uploads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.support.raw_client import RawClient
from tests.support.waiting import wait_until
from tests.support.wire import Broken, Truncated

__all__ = ["Customers"]

_PAUSE_S = 0.02
"""Two versions, a router and other tests want the processors, too."""

_UPLOAD_PIECES = 10


def _posting(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n" % size


class Customers:
    """One thread for each kind of customer, as a context manager; `failures` has every request that failed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._has_closed = threading.Event()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        kinds: dict[str, Callable[[RawClient, int], bytes]] = {
            "small": self._small,
            "passing": self._small,
            "slow": self._slow,
            "upload": self._upload,
        }
        self._threads = [threading.Thread(target=self._come, args=kind) for kind in kinds.items()]

    def __enter__(self) -> Customers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._has_closed.set()
        for thread in self._threads:
            thread.join()

    def serve_some(self) -> None:
        """Wait until customers of every kind have been served anew."""
        before = Counter(self.answers)
        wanted = {"small": 20, "passing": 10, "slow": 1, "upload": 1}
        wait_until(
            lambda: self.failures or all(self.answers[kind] - before[kind] >= count for kind, count in wanted.items()),
            f"{wanted} more answers after {before}, now {self.answers}",
            30,
        )

    def _come(self, kind: str, ask: Callable[[RawClient, int], bytes]) -> None:
        """Ask again and again; those that are `passing` come on a new connection each time."""
        client: RawClient | None = None
        number = 0
        while not self._has_closed.wait(_PAUSE_S):
            number += 1
            try:
                client = client or RawClient(self._port, deadline_s=40)
                method = ask(client, number)
                answer = client.read_response(method)
            except (OSError, Broken, Truncated) as error:
                self.failures.append(f"{kind} request {number}: {error!r}")
                client = None
                continue
            if answer.status != 200 or not _is_whole(answer.text):
                self.failures.append(f"{kind} request {number}: {answer.status} {answer.body[:80]!r}")
            self.answers[kind] += 1
            if kind == "passing" or answer.value(b"Connection") == b"close":
                client.wire.close()
                client = None
        if client is not None:
            client.wire.close()

    def _small(self, client: RawClient, number: int) -> bytes:
        if number % 2:
            client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            return b"GET"
        size = 5_000 if number % 4 else 10
        client.send(_posting(size), bytes(size))
        return b"POST"

    def _slow(self, client: RawClient, number: int) -> bytes:
        client.send(b"GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        return b"GET"

    def _upload(self, client: RawClient, number: int) -> bytes:
        piece = bytes(20_000)
        client.send(_posting(_UPLOAD_PIECES * len(piece)))
        for _ in range(_UPLOAD_PIECES):
            client.send(piece)
            time.sleep(_PAUSE_S)
        return b"POST"


def _is_whole(text: str) -> bool:
    """Whether the shop says that it took all that was sent: "blue took 10 of 10"."""
    words = text.split()
    return len(words) == 5 and words[2] == words[4]
