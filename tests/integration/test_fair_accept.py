"""New connections are shared by the workers, in a burst as well as one by one."""

from __future__ import annotations

from contextlib import ExitStack

import psutil

from tests.support.router_farm import RouterFarm
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

ROUTER_SETTINGS = {"workers": 2}
CLIENTS = 64


def serving(router: RouterProcess) -> int:
    """How many workers accept."""
    return sum(worker["connections"] is not None for worker in router.metrics()["workers"])


def shares(router: RouterProcess) -> list[int]:
    """How many client connections each worker holds."""
    held = []
    for worker in psutil.Process(router.process.pid).children():
        held.append(sum(link.laddr.port == router.port and bool(link.raddr) for link in worker.net_connections()))
    return sorted(held)


def test_a_burst_of_connections_is_shared(router: RouterProcess) -> None:
    wait_until(lambda: serving(router) == 2, "both workers")
    with ExitStack() as stack:
        clients = [stack.enter_context(router.connect()) for _ in range(CLIENTS)]
        for client in clients:
            client.send(b"GET /__router_health HTTP/1.1\r\nHost: x.test\r\n\r\n")
        for client in clients:
            client.read_response()
        least, most = shares(router)
    assert least + most == CLIENTS
    assert most <= 1.5 * least


def test_a_worker_that_is_alone_takes_every_connection(farm: RouterFarm) -> None:
    router = farm.get(workers=1)[0]
    with ExitStack() as stack:
        for client in [stack.enter_context(router.connect()) for _ in range(8)]:
            assert client.ask(b"GET /__router_health HTTP/1.1\r\nHost: x.test\r\n\r\n").status in (200, 503)
        assert shares(router) == [8]
