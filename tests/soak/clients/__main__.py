"""One client process: `python -m tests.soak.clients KIND PORT SHEET SEED`; it asks until its standard input ends."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from random import Random

from tests.soak.clients.asking import PATIENCE_S, Client
from tests.soak.clients.short import Gets, Posts, Refusals
from tests.soak.clients.slow import EventStreams, Streams, Uploads
from tests.soak.clients.sockets import WebSockets
from tests.soak.seen import Sheet

THREADS: dict[type[Client], int] = {
    Gets: 3,
    Posts: 3,
    Refusals: 2,
    Uploads: 2,
    Streams: 4,
    EventStreams: 3,
    WebSockets: 4,
}
KINDS = {each.kind: each for each in THREADS}


def main(kind: str, port: str, path: str, seed: str) -> None:
    """Ask with as many threads as the kind has, each a client with a connection of its own."""
    sheet, is_over = Sheet(Path(path)), threading.Event()

    def ask_until_over(name: str) -> None:
        client = KINDS[kind](int(port), name, sheet, Random(f"{seed} {name}"))
        while not is_over.is_set():
            client.ask_once()

    names = [f"soak-{kind}-{number}" for number in range(THREADS[KINDS[kind]])]
    threads = [threading.Thread(target=ask_until_over, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    is_over.set()
    for thread in threads:
        thread.join(PATIENCE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
