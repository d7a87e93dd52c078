"""One end of a connection as the workers use it: a non-blocking socket on gevent's hub."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent import get_hub, getcurrent, sleep
from gevent.monkey import get_original

from app.address import Address
from app.transport.blocking import QUEUE_FULL_S
from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from app.transport.loopback import family_of, refuse_itself

__all__ = ["Endpoint", "PlainSocket", "connect", "yield_to_loop", "wait_for_either"]

PlainSocket: type[socket.socket] = get_original("socket", "socket")
"""The standard library's socket, which gevent replaces in a worker: here the waiting is done by `Endpoint`."""

RECEIVE_BYTES = 98_304
"""Most that one read takes: a 64 KiB body with its head at once. From 128 KiB on the C library maps and unmaps
memory for each read, which costs six times a small read (measured)."""


_RESETS, _LINGERS = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
"""`struct linger`: what is not sent yet is thrown away at the end (on, for 0 s), or sent (off)."""

_LEFT = (7, 8, 9, 11)
"""TCP_CLOSE, TCP_CLOSE_WAIT, TCP_LAST_ACK and TCP_CLOSING of <netinet/tcp.h>."""


class Endpoint:
    """A connected socket with a read watcher that stays on.

    A watcher that is started and stopped around every wait costs two epoll_ctl calls and a failed read each
    time. This one is started once; it is stopped only when bytes arrive that nobody waits for, and started
    again by the next wait. So an end that closes is noticed without asking, too.

    At most one greenlet waits for reading, and at most one for writing.

    Attributes:
        buffered: bytes that were read and not used yet.
        closed: the socket is closed.
        taken: how many bytes of its data a `send` that failed has got rid of.
    """

    __slots__ = (
        "_armed",
        "_hub",
        "_on_idle",
        "_reader",
        "_sock",
        "_watcher",
        "buffered",
        "closed",
        "taken",
    )

    taken: int

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._hub = get_hub()
        self._watcher = self._hub.loop.io(sock.fileno(), 1)
        self._armed = False
        self._reader: Any = None  # the greenlet that waits for bytes; gevent has no types
        self._on_idle: Any = None
        self.buffered = b""
        self.closed = False

    # --- waiting ------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._armed = True
        self._watcher.start(self._ready)

    def _ready(self) -> None:
        """Runs in the hub while bytes, or the end, are there to be read."""
        reader = self._reader
        if reader is not None:
            self._reader = None
            reader.switch(self)
            return
        self._watcher.stop()
        self._armed = False
        if self._on_idle is not None:
            on_idle, self._on_idle = self._on_idle, None
            on_idle(self)

    def interrupt(self, error: BaseException, still: Callable[[], bool] = lambda: True) -> None:
        """Raises `error` in the greenlet that waits here for bytes; nothing happens when none does.

        It is raised in the hub's next round. By then the greenlet may wait here for something else, so `still`
        is asked whether it is meant.
        """
        self._hub.loop.run_callback(self._raise_in_reader, self._reader, error, still)

    def _raise_in_reader(self, reader: Any, error: BaseException, still: Callable[[], bool]) -> None:
        if reader is not None and self._reader is reader and still():
            self._reader = None
            reader.throw(error)

    def watch_idle(self, on_idle: Any) -> None:
        """Calls `on_idle(self)` once, in the hub, when bytes or the end arrive while nobody waits."""
        self._on_idle = on_idle
        if not self._armed:
            self._arm()

    def unwatch_idle(self) -> None:
        """Takes the endpoint back into use."""
        self._on_idle = None

    def listen(self, waiter: Any) -> None:
        """Calls `waiter.switch(self)` once, in the hub, when bytes or the end can be read; None: not any more."""
        self._reader = waiter
        if waiter is not None and not self._armed:
            self._arm()

    def wait_readable(self, deadlines: Deadlines) -> None:
        """Waits until bytes or the end can be read. Raises Expired."""
        if not self._armed:
            self._arm()
        current = self._reader = getcurrent()
        deadlines.add(current)
        try:
            self._hub.switch()
        finally:
            self._reader = None
            deadlines.discard(current)

    def wait_writable(self, deadlines: Deadlines, or_readable: bool = False) -> bool:
        """Waits until the peer takes more bytes; with `or_readable`, also until it has sent some.

        Returns whether bytes can be read (always False without `or_readable`). Raises Expired.
        """
        current = getcurrent()
        watcher = self._hub.loop.io(self._sock.fileno(), 2)
        if or_readable:
            if not self._armed:
                self._arm()
            self._reader = current
        deadlines.add(current)
        try:
            watcher.start(current.switch, None)
            return self._hub.switch() is self
        finally:
            if or_readable:
                self._reader = None
            deadlines.discard(current)
            watcher.stop()
            watcher.close()

    # --- bytes --------------------------------------------------------------------------------------------

    def read(self, deadlines: Deadlines, size: int = RECEIVE_BYTES) -> bytes:
        """Waits for the next bytes from the socket, b"" at the end; what is in `buffered` came before them.

        Raises Expired, and OSError when the connection was reset.
        """
        while True:
            self.wait_readable(deadlines)
            data = self.receive(size)
            if data is not None:
                return data

    def receive(self, size: int = RECEIVE_BYTES) -> bytes | None:
        """What can be read without waiting: b"" at the end, None when there is nothing yet."""
        try:
            return self._sock.recv(size)
        except BlockingIOError:
            return None

    def send(self, data: bytes, deadlines: Deadlines) -> None:
        """Sends all of `data`. Raises Expired, and OSError when the peer is gone; `taken` says how far it came."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.taken = 0
            raise
        if sent < len(data):
            view = memoryview(data)
            while sent < len(data):
                self.taken = sent
                self.wait_writable(deadlines)
                sent += self.send_some(view[sent:])

    def send_some(self, data: bytes | memoryview) -> int:
        """Sends what the socket takes now and returns how much that was."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def has_closed(self) -> bool:
        """Whether the peer has closed, or sent something nobody asked for. One system call."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def peer_has_left(self) -> bool:
        """Whether the peer has ended or reset the connection, even behind bytes that nobody has read yet."""
        try:
            state = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]  # tcpi_state
        except OSError:
            return False  # not TCP
        return state in _LEFT

    def fileno(self) -> int:
        """The socket's descriptor, for what bypasses the buffer."""
        return self._sock.fileno()

    # --- the end ------------------------------------------------------------------------------------------

    def end_writing(self) -> None:
        """Tells the peer that nothing more comes; reading goes on."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # already gone, which is what we wanted

    def end_by_reset(self, by_reset: bool) -> None:
        """Says how the connection ends from now on, whoever closes it: this process, or the kernel after its death."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS if by_reset else _LINGERS)
        except OSError:
            pass  # already gone

    def abort(self) -> None:
        """Closes with a reset, so that the peer cannot take what it has for a complete message."""
        self.end_by_reset(True)
        self.close()

    def close(self) -> None:
        """Closes the socket; again is harmless."""
        if not self.closed:
            self.closed = True
            self._watcher.stop()
            self._watcher.close()
            self._sock.close()


def wait_for_either(first: Endpoint, second: Endpoint, deadlines: Deadlines) -> Endpoint:
    """Waits until one of the two can be read and returns it. Raises Expired."""
    if not first._armed:
        first._arm()
    if not second._armed:
        second._arm()
    current = first._reader = second._reader = getcurrent()
    deadlines.add(current)
    try:
        woken: Endpoint = first._hub.switch()
        return woken
    finally:
        first._reader = second._reader = None
        deadlines.discard(current)


def yield_to_loop() -> None:
    """Lets the loop look at its sockets, and all go first for whom it finds something.

    `gevent.sleep(0)` lets only those go who are ready already, and again and again for some milliseconds. A timer,
    however short, is looked at after the sockets are.
    """
    sleep(1e-9)


def connect(address: Address, deadlines: Deadlines) -> Endpoint:
    """Connects to an address. Raises OSError when refused or unreachable, and Expired."""
    sock = PlainSocket(family_of(address.host), socket.SOCK_STREAM)
    endpoint = Endpoint(sock)
    try:
        if address.is_unix:
            error = _connect_to_path(sock, address.host, deadlines)
        else:
            # Heads and small bodies are sent whole, so waiting for more to send can only cost time.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = sock.connect_ex(address)
        if error == errno.EINPROGRESS:
            endpoint.wait_writable(deadlines)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        if not address.is_unix:
            refuse_itself(sock, address.port)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def _connect_to_path(sock: socket.socket, path: str, deadlines: Deadlines) -> int:
    """Connects to a Unix socket; returns the error. Raises Expired."""
    ends = monotonic() + deadlines.seconds
    while (error := sock.connect_ex(path)) == errno.EAGAIN:  # its queue is full
        if deadlines.seconds and monotonic() > ends:
            raise Expired(deadlines)
        sleep(QUEUE_FULL_S)
    return error
