"""What happens to some of a version's processes while the others serve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.soak.evidence import Spared
from tests.soak.layout import MOST
from tests.soak.site import VERSIONS, CommandFailed, Instance

if TYPE_CHECKING:
    from tests.soak.events import Script

__all__ = ["drain", "kill_instance", "kill_one", "scale"]

LEFT_ALONE_S = 75.0
"""A backend that fails again and again is left alone for a minute, give or take a fifth."""


def kill_instance(script: Script) -> None:
    """kill -9 of one process of the active version; most times nothing else happens before all are there again."""
    version = script.site.active
    kill_one(script)
    if script.random.random() < 0.7:
        script.site.wait_until_well(version)


def kill_one(script: Script) -> None:
    """kill -9 of one process of the active version."""
    site, version = script.site, script.site.active
    living = [one for one in site.instances_of(version) if one.pid is not None]
    if not living:
        return  # all have been killed just now, and are about to come back
    one = script.random.choice(living)
    assert one.pid is not None
    others = _sure_to_serve(script, version, [other for other in living if other is not one])
    script.kill("app", one.pid, version=version, instance=one.number, others=others)


def _sure_to_serve(script: Script, version: str, others: list[Instance]) -> int:
    """How many of these a request can go to; with a limit they may be full, and after a kill one is left alone."""
    since = time.monotonic() - LEFT_ALONE_S
    killed = {kill.instance for kill in script.kills if kill.version == version and kill.end > since}
    has_room = not script.site.layout.max_in_flight
    return sum(has_room and one.serves and one.number not in killed for one in others)


def scale(script: Script) -> None:
    """More processes of either version, or fewer."""
    site, version = script.site, script.random.choice(VERSIONS)
    now = len(site.instances_of(version))
    count = script.random.choice([it for it in range(site.layout.fewest, MOST + 1) if it != now])
    site.deploy("scale", version, str(count))
    if (found := len(site.instances_of(version))) != count:
        raise CommandFailed(f"{version} was scaled to {count} processes and has {found}")


def drain(script: Script) -> None:
    """A process gets no new requests for a while, in which now and then the traffic moves."""
    site, version = script.site, script.random.choice(VERSIONS)
    if len(site.instances_of(version)) == 1:
        site.deploy("scale", version, "2")
    site.wait_until_well(version)  # one that was killed just now could not take over
    count = len(site.instances_of(version))
    number = script.random.randint(1, count)
    backend = f"--backend={number}"
    site.deploy("drain", version, backend)
    begin = time.monotonic()
    script.pass_time(0.1, 0.6)
    if script.random.random() < 0.5:
        script.play(script.random.choice(("switch", "rollback", "worker-kill")))
    script.spared.append(Spared(begin, time.monotonic(), version, number))
    site.deploy("undrain", version, backend)
