"""Clients that mix GETs with POSTs of several sizes, for versions that answer a POST before they have read it."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random

from tests.support.raw_client import RawClient
from tests.support.wire import Broken, Truncated

__all__ = ["upload_crowd"]

SIZES = (10, 5_000, 200_000)
"""Bytes of a POST's body: it goes out with the head, in two parts, or is more than most servers read in vain."""


def upload_crowd(
    port: int, posts: int, targets: tuple[bytes, ...], got: bytes = b"/200", clients: int = 12
) -> Counter[str]:
    """Have `clients` clients make `posts` POSTs, and a GET of `got` after every other one; counts their outcomes.

    An outcome is "POST /405 405": the request, and its status or what broke.
    """
    outcomes: Counter[str] = Counter()
    share = posts // clients

    def upload(number: int) -> None:
        random, client = Random(number), _Client(port)
        for _ in range(share):
            target = random.choice(targets)
            body = bytes(random.choice(SIZES))
            outcomes[f"POST {target.decode()} {client.ask(b'POST', target, body)}"] += 1
            if random.random() < 0.5:
                outcomes[f"GET {got.decode()} {client.ask(b'GET', got)}"] += 1
        client.leave()

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


class _Client:
    """One client with one connection, kept as long as the router keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: RawClient | None = None

    def ask(self, method: bytes, target: bytes, body: bytes = b"") -> str:
        """The status, or what broke."""
        client = self._kept or RawClient(self._port)
        self._kept = None
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        try:
            answer = client.ask(method + b" " + target + b" HTTP/1.1\r\nHost: x.test\r\n" + length + b"\r\n" + body)
        except (OSError, Broken, Truncated) as error:
            client.wire.close()
            return type(error).__name__
        if answer.value(b"Connection") == b"close":
            client.wire.close()
        else:
            self._kept = client
        return str(answer.status)

    def leave(self) -> None:
        """Close what is still open."""
        if self._kept is not None:
            self._kept.wire.close()
