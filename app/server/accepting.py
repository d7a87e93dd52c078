"""Taking connections from a listener that all workers share, up to what one worker can hold.

At a limit nobody is left hanging: who cannot be served is told so with a 503, and the log says why.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from logging import getLogger
from typing import Any

from gevent import get_hub
from gevent.monkey import get_original
from gevent.pool import Group

from app.errors import OutOfDescriptors, RouterError, WorkerFull
from app.notices import Notices
from app.server.fairness import PAUSE_S, FairShare
from app.transport.endpoint import PlainSocket

__all__ = ["Acceptor"]

logger = getLogger(__name__)

Serve = Callable[[socket.socket, str], None]
Refuse = Callable[[socket.socket, str, RouterError], None]

_close: Callable[[int], None] = get_original("os", "close")
"""gevent's own puts the closing off until the loop's next turn, and here the descriptor is needed at once."""

_OTHERS_FIRST_S = 0.1
"""How long a full worker leaves connections to the others, who may have room, before it turns them away."""

_REFUSED_AT_ONCE = 64

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts connections, each into a greenlet of its own.

    Args:
        listener: the socket, shared with the other workers.
        serve: serves one connection of a peer's address to its end.
        refuse: answers a connection with an error, and ends it.
        make_room: ends a few idle connections.
        share: says whether the next connection is another worker's.
        limit: most connections at a time.
        at_once: most connections taken per turn of the loop.

    Attributes:
        pool: the greenlets of the connections being served.
    """

    def __init__(
        self,
        listener: socket.socket,
        serve: Serve,
        refuse: Refuse,
        make_room: Callable[[], None],
        share: FairShare,
        limit: int,
        at_once: int,
    ) -> None:
        # A plain socket: what gevent's would do about waiting is done here.
        self._listener = PlainSocket(listener.family, listener.type, fileno=listener.detach())
        self._listener.setblocking(False)
        self._serve = serve
        self._refuse = refuse
        self._make_room = make_room
        self._share = share
        self._limit = limit
        self._at_once = at_once
        self.pool: Any = Group()  # gevent has no types
        self._refused: Any = Group()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # given up to answer when none is left
        self._notices = Notices(logger)
        loop = get_hub().loop
        self._watcher = loop.io(self._listener.fileno(), 1)
        self._timer: Any = None
        self._is_open = False

    def start(self) -> None:
        """From now on connections are taken."""
        self._is_open = True
        self._share.publish(0)
        self._watch()

    def close(self) -> None:
        """No more connections are taken; those that wait are the other workers'."""
        if self._is_open:
            self._is_open = False
            self._watcher.stop()
            self._watcher.close()
            self._end_timer()
            self._listener.close()

    def stop(self, timeout: float) -> None:
        """Ends all connections, after giving them `timeout` seconds."""
        self.close()
        self.pool.join(timeout=timeout)
        self.pool.kill(block=True, timeout=timeout)

    # --- in the hub ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._is_open:
            self._watcher.start(self._take_some)

    def _wait(self) -> None:
        """Leaves the listener to the others for as long as it takes them to show whether they have room."""
        self._pause(_OTHERS_FIRST_S, self._look_again)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        if self._is_open and self._timer is None:
            self._watcher.stop()
            self._timer = get_hub().loop.timer(seconds)
            self._timer.start(then)

    def _watch_again(self) -> None:
        self._end_timer()
        self._watch()

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _take_some(self) -> None:
        for _ in range(self._at_once):
            if self._share.is_anothers_turn(len(self.pool)):
                self._pause(PAUSE_S, self._watch_again)
                return
            if len(self.pool) >= self._limit:
                self._make_room()
                self._wait()
                return
            taken = self._take()
            if taken is None:
                return
            self.pool.spawn(self._serve, *taken)
            self._share.publish(len(self.pool))

    def _take(self) -> tuple[socket.socket, str] | None:
        """The next connection and its peer's address; None when there is none, or none can be taken."""
        try:
            return self._accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._notices.say(f"no connection can be accepted: {error.strerror} (see LimitNOFILE, ulimit -n)")
                self._answer_with_the_spare()
            return None  # nobody there, or gone again

    def _accept(self) -> tuple[socket.socket, str]:
        # `accept` would make a socket of the class that gevent has put into the standard library.
        fd, address = self._listener._accept()  # type: ignore[attr-defined]  # what `accept` is made of
        sock = PlainSocket(self._listener.family, self._listener.type, fileno=fd)
        # On a port for both families the kernel writes an IPv4 client as ::ffff:192.0.2.1; nobody else does.
        return sock, address[0].removeprefix("::ffff:") if isinstance(address, tuple) else ""

    def _look_again(self) -> None:
        """The others have had their chance: a worker that is still full answers who still waits."""
        self._end_timer()
        full = WorkerFull(f"{self._limit} connections are open in this worker")
        while len(self.pool) >= self._limit and len(self._refused) < _REFUSED_AT_ONCE:
            taken = self._take()
            if taken is None:
                break
            self._notices.say(f"connections are turned away: {full} (max_connections)")
            self._refused.spawn(self._refuse, *taken, full)
        if len(self.pool) < self._limit:
            self._watch()
        else:
            self._wait()

    # --- without descriptors ------------------------------------------------------------------------------

    def _answer_with_the_spare(self) -> None:
        """One connection at a time is told, on the descriptor that is kept for this."""
        self._make_room()
        self._wait()
        if self._spare < 0:
            if not len(self._refused):
                self._take_back_the_spare()
            return
        _close(self._spare)
        self._spare = -1
        try:
            sock, peer = self._accept()
        except OSError:
            self._take_back_the_spare()
            return
        self._refused.spawn(self._refuse_on_the_spare, sock, peer)

    def _refuse_on_the_spare(self, sock: socket.socket, peer: str) -> None:
        try:
            self._refuse(sock, peer, OutOfDescriptors("this process has no file descriptor left"))
        finally:
            self._take_back_the_spare()
            if self._is_open:
                self._look_again()

    def _take_back_the_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # somebody was faster; the next attempt to accept tries again
