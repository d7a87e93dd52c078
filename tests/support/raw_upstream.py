"""A programmable upstream on a loopback port: it records every byte and answers what a test tells it to.

Each accepted connection has a thread that reads one request head after another and hands each, as an
`Exchange`, to the handler in force at that moment. The handler decides when to read the body, what bytes to
send and how the connection ends. The router's own health probes are answered aside and never recorded.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from tests.support.waiting import wait_until
from tests.support.wire import Broken, Chunked, Field, Head, Truncated, Wire, fields_block

PROBE_TARGETS = frozenset({b"/health"})
"""Targets of the router's health probe; answered with 200 and left out of all records."""

PROBE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def reply(
    body: bytes = b"ok",
    status: bytes = b"200 OK",
    fields: Iterable[Field] = (),
) -> bytes:
    """A complete HTTP/1.1 answer with Content-Length after the given fields."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\n" + fields_block(fields) + length + b"\r\n" + body


class Connection:
    """One accepted connection: its reader, its exchanges, and whether it has ended."""

    def __init__(self, sock: socket.socket) -> None:
        self.wire = Wire(sock)
        self.exchanges: list[Exchange] = []
        self.ended = threading.Event()
        self.thread = threading.current_thread()
        """The thread that serves it; the one that accepted it until that has begun."""

    @property
    def received(self) -> bytes:
        """Every byte that came in on this connection."""
        return bytes(self.wire.received)


class Exchange:
    """One request as it arrives and the answer as a test's handler gives it."""

    def __init__(self, connection: Connection, head: Head) -> None:
        self.connection = connection
        self.head = head
        parts = head.start_line.split(b" ")
        if len(parts) != 3 or parts[2] != b"HTTP/1.1":
            raise Broken(f"not a request line: {head.start_line!r}")
        self.method, self.target, self.version = parts
        self.body = b""
        self.chunked: Chunked | None = None
        self.is_complete = not self.has_body

    @property
    def wire(self) -> Wire:
        """The connection's reader."""
        return self.connection.wire

    @property
    def is_chunked(self) -> bool:
        """The body comes chunked; Broken for any other transfer coding or for two framings at once."""
        coding = self.head.value(b"Transfer-Encoding")
        if coding is None:
            return False
        if coding != b"chunked" or self.head.values(b"Content-Length"):
            raise Broken(f"ambiguous framing: {self.head.raw!r}")
        return True

    @property
    def content_length(self) -> int:
        """The Content-Length, 0 without one; Broken when it is not plain digits."""
        length = self.head.value(b"Content-Length")
        if length is None:
            return 0
        if not length.isdigit():
            raise Broken(f"Content-Length {length!r}")
        return int(length)

    @property
    def has_body(self) -> bool:
        """The head announces a body of at least one byte or a chunked one."""
        return self.is_chunked or self.content_length > 0

    @property
    def trailers(self) -> tuple[Field, ...]:
        """The request's trailer fields, once the body has been read."""
        return self.chunked.trailers if self.chunked else ()

    def read_body(self) -> bytes:
        """Read the rest of the request's body and return all of it."""
        if not self.is_complete:
            if self.is_chunked:
                self.chunked = self.wire.read_chunked()
                self.body += self.chunked.body
            else:
                self.body += self.wire.read_exactly(self.content_length - len(self.body))
            self.is_complete = True
        return self.body

    def read_body_until(self, count: int) -> bytes:
        """Read on until at least `count` bytes of the body are there; returns the body so far."""
        while len(self.body) < count:
            if self.is_chunked:
                data = self.wire.read_chunk()[0]
            else:
                data = self.wire.read_exactly(1) + self.wire.take(self.content_length - len(self.body) - 1)
            if not data:
                raise Truncated("the body ended early")
            self.body += data
        return self.body

    def send(self, *parts: bytes) -> None:
        """Send bytes of the answer now."""
        self.wire.send(b"".join(parts))

    def hold(self, event: threading.Event) -> None:
        """Wait until the test sets the event, or the connection is taken away."""
        while not event.wait(0.01):
            if self.connection.ended.is_set():
                raise ConnectionAbortedError("the test is over")

    def close(self) -> None:
        """End the connection with FIN."""
        self.wire.close()

    def reset(self) -> None:
        """End the connection with RST."""
        self.wire.reset()

    def wait_for_hang_up(self) -> str:
        """Wait until the peer ends the connection: "closed" or "reset"; bytes that still come are taken."""
        try:
            self.wire.read_to_end()
        except ConnectionError:
            return "reset"
        return "closed"


Handler = Callable[[Exchange], None]


def answering(raw: bytes, *, after: threading.Event | None = None, then_close: bool = False) -> Handler:
    """A handler that reads the whole request, sends `raw` once `after` is set, and may then close the connection."""

    def handle(exchange: Exchange) -> None:
        exchange.read_body()
        if after is not None:
            exchange.hold(after)
        exchange.send(raw)
        if then_close:
            exchange.close()

    return handle


class RawUpstream:
    """The listening upstream; use as a context manager, `reset()` between tests. `port` 0 is any free one."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, port), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.handler: Handler = answering(OK)
        self.connections: list[Connection] = []
        self.exchanges: list[Exchange] = []
        self.faults: list[str] = []
        self.probes = 0
        self.probe_answer = PROBE_ANSWER
        self._open: list[Connection] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> RawUpstream:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self._close(self._open)

    def refuse(self) -> None:
        """Refuse connections from now on; those that are open go on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)

    def answers(self, raw: bytes, *, after: threading.Event | None = None, then_close: bool = False) -> None:
        """Answer each request, once read whole and `after` is set, with these bytes."""
        self.handler = answering(raw, after=after, then_close=then_close)

    def answers_in_turn(self, *handlers: Handler) -> None:
        """Give the n-th request to the n-th handler; further ones to the last."""
        turn = iter(handlers)
        lock = threading.Lock()
        last = handlers[-1]

        def handle(exchange: Exchange) -> None:
            with lock:
                chosen = next(turn, last)
            chosen(exchange)

        self.handler = handle

    @property
    def only(self) -> Exchange:
        """The one request that came in since the last reset."""
        assert len(self.exchanges) == 1, [exchange.head.start_line for exchange in self.exchanges]
        return self.exchanges[0]

    def next_exchange(self, number: int = 1) -> Exchange:
        """Wait for the `number`-th request's head."""
        wait_until(lambda: len(self.exchanges) >= number, f"request {number} at the upstream")
        return self.exchanges[number - 1]

    def hang_up(self) -> None:
        """Close every connection that has carried a request, and wait until their threads are done.

        A health check that is on its way is left alone: the router would rightly call us unhealthy.
        """
        self._close(self.connections)

    def _close(self, connections: list[Connection]) -> None:
        closing = list(connections)
        for connection in closing:
            connection.ended.set()
            connection.wire.close()
        for connection in closing:
            connection.thread.join(5)

    def reset(self) -> None:
        """Forget everything: hang up, clear the records, answer plain 200 again."""
        self.hang_up()
        self.handler = answering(OK)
        self.probe_answer = PROBE_ANSWER
        self.connections = []
        self.exchanges = []
        self.faults = []

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(sock)
            connection.thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._open.append(connection)
            connection.thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            self._converse(connection)
        except (ConnectionError, Truncated):
            pass
        except (Broken, AssertionError, TimeoutError) as error:
            self.faults.append(f"{type(error).__name__}: {error}")
        except OSError:
            pass  # closed under the thread by hang_up() or by the handler itself
        finally:
            connection.ended.set()
            connection.wire.close()
            self._open.remove(connection)

    def _converse(self, connection: Connection) -> None:
        # A reused connection may idle for the whole run; only reads inside a message have a deadline.
        wire = connection.wire
        while True:
            wire.sock.settimeout(None)
            if not wire.pending() and not wire.fill():
                return
            if connection not in self.connections:
                self.connections.append(connection)
            wire.sock.settimeout(10)
            head = wire.read_head()
            if head is None:
                return
            exchange = Exchange(connection, head)
            if exchange.target in PROBE_TARGETS:
                self._answer_probe(connection)
                return
            connection.exchanges.append(exchange)
            self.exchanges.append(exchange)
            self.handler(exchange)
            if wire.sock.fileno() < 0:
                return

    def _answer_probe(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self.probes += 1
        connection.wire.send(self.probe_answer)
