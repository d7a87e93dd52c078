"""Another server in front of a real router, and what has to hold whichever it is."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path

from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient, Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, Settings, running_router
from tests.support.waiting import wait_until

__all__ = ["HOST", "SETTINGS", "Front", "behind", "self_signed", "standing_in_front"]

HOST = "shop.example.org"

SETTINGS: Settings = {"forwarded_hops": 1, "admin_allow": "127.0.0.1"}
"""A router that trusts one proxy and lets 127.0.0.1 alone look at its own pages."""

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §4.2.2."""


@dataclass
class Front:
    """A proxy in front of a router, and the version behind it; `tls_port` is its port for https, 0 for none."""

    port: int
    tls_port: int
    router: RouterProcess
    upstream: RawUpstream

    def get(self, path: str, *fields: str, source: str = "127.0.0.1") -> Response:
        """The answer to a request through the proxy."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", "Connection: close", *fields]
        with RawClient(self.port, source=source) as client:
            return client.ask("\r\n".join([*lines, "", ""]).encode())

    def get_by_https(self, path: str) -> int:
        """The status of an answer over TLS, whoever signed the certificate."""
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(HOST, self.tls_port, context=trusting, timeout=20)
        # The name is for the proxy alone; nobody resolves it.
        connection._create_connection = lambda *_: _connect(self.tls_port)  # type: ignore[attr-defined]
        try:
            connection.request("GET", path, headers={"Host": HOST})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    # --- what has to hold ------------------------------------------------------------------------------------

    def check_client_is_known(self) -> None:
        """The version learns who asks and how; what a client says of itself is not believed."""
        self._serves(b"blue")
        assert self.get("/a%20b", "X-Forwarded-For: 203.0.113.9", source="127.0.0.7").status == 200
        head = self.upstream.only.head
        assert head.value(b"X-Real-IP") == b"127.0.0.7"
        assert (head.value(b"Host"), head.value(b"X-Forwarded-Proto")) == (HOST.encode(), b"http")
        assert head.start_line.split(b" ")[1] == b"/a%20b"

    def check_https_is_known(self) -> None:
        """The version learns that the client speaks https."""
        self._serves(b"blue")
        assert self.get_by_https("/") == 200
        head = self.upstream.only.head
        assert (head.value(b"X-Forwarded-Proto"), head.value(b"Host")) == (b"https", HOST.encode())

    def check_own_pages_are_judged_by_the_client(self) -> None:
        """The proxy stands on this machine, and its clients do not."""
        assert self.get("/__router_metrics").status == 200
        assert self.get("/__router_metrics", source="127.0.0.7").status == 403
        assert self.get("/__router_metrics", "X-Forwarded-For: 127.0.0.1", source="127.0.0.7").status == 403

    def check_answer_is_passed_on_as_it_comes(self) -> None:
        """An event is here before the next one is sent."""
        go_on = threading.Event()

        def two_parts(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            exchange.send(b"9\r\ndata: 1\n\n\r\n")
            go_on.wait(10)
            exchange.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

        self.upstream.handler = two_parts
        with RawClient(self.port) as client:
            client.send(f"GET /events HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n".encode())
            client.wire.read_through(b"data: 1\n\n")  # before the second is sent
            go_on.set()
            client.wire.read_through(b"data: 2\n\n")

    def check_websocket_goes_through(self) -> None:
        """What comes after an Upgrade goes both ways."""

        def accept(exchange: Exchange) -> None:
            key = exchange.head.value(b"Sec-WebSocket-Key") or b""
            token = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
            exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
            exchange.send(b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n")
            exchange.wire.read_through(b"ping")
            exchange.send(b"\x81\x04pong")

        self.upstream.handler = accept
        with RawClient(self.port) as client:
            key = base64.b64encode(os.urandom(16)).decode()
            lines = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}"]
            head = "\r\n".join([f"GET /ws HTTP/1.1\r\nHost: {HOST}", *lines, "Sec-WebSocket-Version: 13", "", ""])
            client.send(head.encode())
            client.wire.read_through(b"\r\n\r\n")
            # A text frame; a mask of zeros leaves its bytes as they are (RFC 6455 §5.3).
            client.send(b"\x81\x84\0\0\0\0ping")
            client.wire.read_through(b"pong")

    def check_switches_under_load_lose_nothing(self) -> None:
        """Six switches while clients hammer."""
        self._serves(b"blue")
        with RawUpstream() as green:
            green.answers(reply(b"green"))
            with Hammering(self.port) as clients:
                for number in range(6):
                    served = (green, self.upstream)[number % 2]
                    before = len(served.exchanges)
                    self.router.set_state(("green", "blue")[number % 2], blue=self.upstream.port, green=green.port)
                    wait_until(partial(_has_more, served, before + 50), "requests to the other version", 20)
            assert clients.failures == [], clients.failures[:5]
            self.router.set_state("blue", blue=self.upstream.port)

    def _serves(self, body: bytes) -> None:
        self.upstream.reset()
        self.upstream.answers(reply(body))


def _has_more(upstream: RawUpstream, count: int) -> bool:
    return len(upstream.exchanges) > count


def _connect(port: int) -> object:
    import socket

    return socket.create_connection(("127.0.0.1", port), 20)


@contextmanager
def behind(folder: Path) -> Iterator[tuple[RouterProcess, RawUpstream]]:
    """A router for a proxy to stand in front of, and its version."""
    with RawUpstream() as upstream, running_router(folder / "router", upstream.port, **SETTINGS) as router:
        upstream.answers(reply(b"blue"))
        yield router, upstream


@contextmanager
def standing_in_front(command: Sequence[str], folder: Path, front: Front) -> Iterator[Front]:
    """The proxy that a command runs, for the length of a `with` block, once it serves."""
    environ = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _serves(front), command[0], 30)
        assert process.poll() is None, (folder / "log").read_text()
        yield front
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _serves(front: Front) -> bool:
    try:
        return front.get("/").status == 200 and (not front.tls_port or front.get_by_https("/") == 200)
    except OSError:
        return False


def self_signed(folder: Path) -> Path:
    """A certificate and its key in one file."""
    made = folder / "site.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    parts = [folder / "key.pem", folder / "cert.pem"]
    command += ["-keyout", str(parts[0]), "-out", str(parts[1])]
    subprocess.run(command, check=True, capture_output=True)
    made.write_bytes(b"".join(part.read_bytes() for part in parts))
    return made
