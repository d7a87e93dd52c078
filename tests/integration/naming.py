"""Backends by name, in a mount namespace whose /etc/hosts is the test's own.

Run as `python -m tests.integration.naming FOLDER`, where FOLDER/hosts is mounted already. Writes what was seen, a word
a line.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.waiting import wait_until

GET = b"GET /a HTTP/1.1\r\nHost: x.test\r\n\r\n"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


def answers(router: RouterProcess, times: int = 24) -> set[str]:
    """What so many requests are answered with: a backend's number, or the status."""
    found = (router.ask(GET) for _ in range(times))
    return {answer.text if answer.status == 200 else str(answer.status) for answer in found}


def main(folder: Path) -> None:
    """Sees the addresses of a name come and go."""
    hosts = folder / "hosts"
    with ExitStack() as stack:
        first = stack.enter_context(RawUpstream())
        others = [stack.enter_context(RawUpstream(first.port, host)) for host in ADDRESSES[1:]]
        for number, backend in enumerate((first, *others)):
            backend.answers(reply(b"%d" % number))
        toml = f'[backends]\nblue = ["shop.test:{first.port}"]\nresolve_interval = 0.2\n'
        router = stack.enter_context(configured_router(folder, first.port, toml, workers=2, health_check_interval=0.5))
        write(hosts, *ADDRESSES[:2])
        wait_until(lambda: answers(router) == {"0", "1"}, "both addresses")
        sys.stdout.write("both\n")
        write(hosts, *ADDRESSES)
        wait_until(lambda: answers(router) == {"0", "1", "2"}, "a third address")
        sys.stdout.write("third\n")
        write(hosts, ADDRESSES[2])
        wait_until(lambda: answers(router) == {"2"}, "the other addresses to be left")
        sys.stdout.write("one\n")
        write(hosts)
        wait_until(lambda: "cannot be looked up" in router.log, "the look-up to fail")
        assert answers(router) == {"2"}, router.log
        sys.stdout.write("kept\n")


def write(hosts: Path, *addresses: str) -> None:
    """In place: the mount is of this very file."""
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} shop.test\n" for address in addresses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
