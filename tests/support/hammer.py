"""A client process that sends request after request until its standard input is closed, and pauses a moment after each.

Run as `python -m tests.support.hammer PORT [KEPT]`; prints one JSON object: `answers` is a list of [start, end,
body] with times in seconds of the machine's monotonic clock, `failures` a list of texts. KEPT of
two requests, 1 unless said, go over one kept connection, the others over one of their own; every fourth is a POST.
"""

from __future__ import annotations

import json
import select
import sys
import time

from tests.support.raw_client import RawClient
from tests.support.wire import Broken, Truncated

GET = b"GET /load HTTP/1.1\r\nHost: shop.example.org\r\n\r\n"
POST = b"POST /load HTTP/1.1\r\nHost: shop.example.org\r\nContent-Length: 10\r\n\r\n0123456789"

PAUSE_S = 0.001
"""Some processor time is left for those who start and stop workers meanwhile."""


class Hammer:
    """Counts answers and failures of one client process."""

    def __init__(self, port: int, kept: int = 1) -> None:
        self.port = port
        self.kept = kept
        self.answers: list[tuple[float, float, str]] = []
        self.failures: list[str] = []
        self._kept: RawClient | None = None
        self._kept_since = 0.0  # its last answer

    def run(self) -> None:
        """Ask until standard input ends."""
        number = 0
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            number += 1
            self._ask(is_kept=number % 2 < self.kept, request=POST if number % 4 == 0 else GET)

    def _ask(self, is_kept: bool, request: bytes) -> None:
        start = time.monotonic()
        client = self._kept if is_kept and self._kept else RawClient(self.port)
        try:
            answer = client.ask(request)
        except (OSError, Broken, Truncated) as error:
            kept = (
                f"kept connection, unused for {start - self._kept_since:.3f} s" if client is self._kept else "new one"
            )
            self.failures.append(f"{time.monotonic():.3f}: {kept}, after {time.monotonic() - start:.3f} s: {error!r}")
            self._kept = None
            return
        if answer.status != 200:
            self.failures.append(f"{answer.status} {answer.body[:80]!r}")
        else:
            self.answers.append((start, time.monotonic(), answer.text))
        if is_kept and answer.value(b"Connection") != b"close":
            self._kept, self._kept_since = client, time.monotonic()
        else:
            client.wire.close()
            self._kept = None if is_kept else self._kept


def main() -> None:
    """Hammer the port named on the command line."""
    hammer = Hammer(*map(int, sys.argv[1:]))
    hammer.run()
    json.dump({"answers": hammer.answers, "failures": hammer.failures}, sys.stdout)


if __name__ == "__main__":
    main()
