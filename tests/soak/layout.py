"""How the versions of a soak run: in how many processes, on what they listen, how much each gets at a time."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from tests.support.router_process import LANES, free_port

__all__ = ["MOST", "Layout"]

MOST = 5
"""Processes that a version is scaled to."""

_SEVERAL = """\
instances = {instances}
instance_port_step = {step}
bind = "{bind}"
# Each kill of one is to be mended by its supervisor, however many there are.
restart = "on-failure"
restart_delay = 0
restart_limit = 1000
"""

_LIMIT = """\
[backends]
max_in_flight = {limit}
queue = 1000
# Above all that the places of a version of few processes can be taken for, and below the clients' patience.
queue_timeout = 60
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is set about the processes of a version, where it is not what is set by nobody.

    Attributes:
        instances: how many it has.
        bind: "tcp" for ports, "unix" for sockets.
        max_in_flight: requests that each gets at a time; 0 for as many as come.
    """

    instances: int = 1
    bind: str = "tcp"
    max_in_flight: int = 0

    @property
    def has_several(self) -> bool:
        """Whether a version has several processes."""
        return self.instances > 1

    @property
    def fewest(self) -> int:
        """What a version is scaled down to: with a limit, a single process would be busy for too long."""
        return 2 if self.max_in_flight else 1

    def complete(self, settings: str) -> str:
        """The text of a traffic_router.toml, whose last table is `[app]`, with what this adds to it."""
        if self.bind == "unix":
            settings = settings.replace("{{port}}", "{{socket}}")
        if self.has_several or self.bind == "unix":
            settings += _SEVERAL.format(instances=self.instances, step=LANES, bind=self.bind)
        if self.max_in_flight:
            settings += _LIMIT.format(limit=self.max_in_flight)
        return settings

    def ports(self, versions: tuple[str, ...], taken: int) -> dict[str, int]:
        """The first port of each version, all of which are free with those of its further processes."""
        if not self.has_several:
            return {name: free_port() for name in versions}
        while True:
            first = free_port()
            ports = [first + LANES * number for number in range(MOST * len(versions))]
            if taken not in ports and _are_free(ports):
                return {name: ports[MOST * index] for index, name in enumerate(versions)}


def _are_free(ports: list[int]) -> bool:
    with ExitStack() as stack:
        try:
            for port in ports:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            return False
    return True
