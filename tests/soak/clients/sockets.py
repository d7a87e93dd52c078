"""WebSockets that echo for a while, by a WebSocket library of its own."""

from __future__ import annotations

import time

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.soak.clients.asking import PATIENCE_S, Client
from tests.soak.seen import Seen

__all__ = ["WebSockets"]

NORMAL, HANDED_OVER = 1000, 1012


class WebSockets(Client):
    """Echoes for one to four seconds; the router may end that with 1012 between two messages."""

    kind = "websocket"

    def ask(self, seen: Seen) -> None:
        try:
            with connect(
                f"ws://127.0.0.1:{self.port}/socket",
                additional_headers={"X-Request-ID": seen.id},
                compression=None,
                proxy=None,
                open_timeout=PATIENCE_S,
                ping_interval=None,
            ) as connection:
                self._echo(seen, connection)
        except InvalidStatus as refusal:
            seen.status = refusal.response.status_code
            seen.cause = refusal.response.headers.get("X-Router-Cause", "")
            seen.error = f"{seen.status} instead of a WebSocket"
        except (OSError, EOFError, WebSocketException) as error:
            seen.error = repr(error)

    def _echo(self, seen: Seen, connection: ClientConnection) -> None:
        seen.status = 101
        until = time.monotonic() + self.random.uniform(1, 4)
        number = 0
        try:
            seen.version, instance = str(connection.recv(PATIENCE_S)).split()
            seen.instance = int(instance)
            seen.heard = time.monotonic()
            while time.monotonic() < until:
                number += 1
                connection.send(f"message {number}")
                answer = connection.recv(PATIENCE_S)
                if answer != f"message {number}":
                    seen.error = f"wrong echo {answer!r}"
                    return
                time.sleep(0.05)
            connection.close()
            seen.end_code = connection.close_code or 0
        except ConnectionClosed:
            seen.end_code = connection.close_code or 0
        if seen.end_code not in (NORMAL, HANDED_OVER):
            seen.error = f"closed with {seen.end_code}"
