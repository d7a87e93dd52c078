"""A port that serves IPv4 and IPv6 alike."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import running_router

GET = b"GET /families HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_clients_of_both_families_have_the_addresses_that_they_know_themselves_by(
    blue: RawUpstream, tmp_path: Path
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with running_router(tmp_path, blue.port, bind="::") as router:
        for address in ("127.0.0.1", "::1"):
            with contextlib.closing(socket.create_connection((address, router.port), 10)) as client:
                client.sendall(GET)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
        seen = [exchange.head.value(b"X-Forwarded-For") for exchange in blue.exchanges]
        assert seen == [b"127.0.0.1", b"::1"]
