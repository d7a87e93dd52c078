"""A way to the router that forgets, as networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable

__all__ = ["Relay"]


class Relay:
    """Stands between the browser and the router, and can forget a stream of events without a word to its ends."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._all = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._streams: list[socket.socket] = []
        self._forgotten: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._threads[0].start()

    @property
    def streams(self) -> int:
        """How many streams of events were asked for."""
        return len(self._streams) // 2

    def forget(self) -> None:
        """Passes nothing on any more for the streams that there are; closes what is idle."""
        self._forgotten += self._streams
        _shut(one for one in self._all[1:] if one not in self._streams)

    def close(self) -> None:
        """Ends everything."""
        _shut(self._all)
        for thread in self._threads:
            thread.join()
        for one in self._all:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._all += [near, far]
                pumps = [threading.Thread(target=self._pump, args=ends) for ends in ((near, far), (far, near))]
                self._threads += pumps
                for pump in pumps:
                    pump.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed by the other pump, or by the test
            while data := source.recv(65_536):
                if b"/events HTTP" in data:
                    self._streams += [source, target]
                if source not in self._forgotten:
                    target.sendall(data)
            if source not in self._forgotten:
                target.shutdown(socket.SHUT_WR)


def _shut(connections: Iterable[socket.socket]) -> None:
    for one in connections:
        with contextlib.suppress(OSError):  # already at its end
            one.shutdown(socket.SHUT_RDWR)
