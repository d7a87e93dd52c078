"""What happens to the deployment: a table of events, each a function that gives what the books need to know of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil

from tests.soak.evidence import Event, Kill, Spared, Spell
from tests.soak.interrupting import interrupt_deploy, interrupt_router, put_in_order
from tests.soak.layout import MOST, Layout
from tests.soak.several import drain, kill_instance, kill_one, scale
from tests.soak.site import VERSIONS, CommandFailed, Site
from tests.support.waiting import wait_until

__all__ = ["EVENTS", "Script", "events_for"]


@dataclass(frozen=True, slots=True)
class _Kind:
    act: Callable[[Script], None]
    weight: int
    wants_several: bool = False
    """Whether there is nothing to it where a version is a single process."""


class Script:
    """Makes events happen, one after the other, and keeps the record of them.

    Attributes:
        events: what was done.
        kills: which processes were killed, and when.
        spells: when which version was certainly the active one: from the return of the command that made it so
            to the beginning of the next one that may change it.
        quiet: from when to when nothing may have been in flight.
        spared: when which process was to get no new requests.
    """

    def __init__(self, site: Site, random: Random) -> None:
        self.site = site
        self.random = random
        self.events: list[Event] = []
        self.kills: list[Kill] = []
        self.spells: list[Spell] = []
        self.quiet: list[tuple[float, float]] = []
        self.spared: list[Spared] = []
        self._releases = 0
        self._settled = (time.monotonic(), site.active)

    def play(self, name: str) -> Event:
        """Let one event happen."""
        return self.record(name, lambda: EVENTS[name].act(self))

    def record(self, name: str, act: Callable[[], None]) -> Event:
        """Do something; a command that fails is on its record."""
        begin, error = time.monotonic(), ""
        try:
            act()
        except CommandFailed as failure:
            error = str(failure)
        event = Event(name, begin, time.monotonic(), error)
        self.events.append(event)
        return event

    def finish(self) -> None:
        """No more events: the last spell is over."""
        since, version = self._settled
        self.spells.append(Spell(since, time.monotonic(), version))

    def write_down(self, path: Path) -> None:
        """The record, for who looks into a fault."""
        record = {
            "events": [asdict(event) for event in self.events],
            "kills": [asdict(kill) for kill in self.kills],
            "spells": [asdict(spell) for spell in self.spells],
            "quiet": self.quiet,
            "spared": [asdict(spared) for spared in self.spared],
        }
        path.write_text(json.dumps(record, indent=1) + "\n")

    # --- pieces ----------------------------------------------------------------------------------------------

    def move(self, act: Callable[[], None]) -> None:
        """Do something that may change the active version, and note from when on it is certain again."""
        self.finish()
        try:
            act()
        finally:
            self._settled = (time.monotonic(), self.site.active)

    def wait_perhaps(self) -> list[str]:
        """`--wait`, every eighth time."""
        return ["--wait"] if self.random.random() < 0.125 else []

    def kill(self, what: str, pid: int, *, begin: float = 0.0, **known: Any) -> None:
        """kill -9, until the process is gone with its last thread: up to then its connections take requests.

        `begin` is when that began, if not just now; `known` are fields of `Kill`.
        """
        begin = begin or time.monotonic()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # a command has replaced it just now
        wait_until(lambda: not psutil.pid_exists(pid), "the end of a killed process", 30)
        self.kills.append(Kill(what, pid, begin, time.monotonic(), **known))

    def pass_time(self, least_s: float, most_s: float) -> None:
        """Let the clients go on for a while: this is load, no condition to wait for."""
        time.sleep(self.random.uniform(least_s, most_s))

    def next_release(self) -> str:
        """A new name."""
        self._releases += 1
        return f"r{self._releases}"


def _switch(script: Script) -> None:
    site = script.site
    script.move(lambda: site.deploy("switch", site.standby, *script.wait_perhaps()))


def _rollback(script: Script) -> None:
    script.move(lambda: script.site.deploy("rollback", *script.wait_perhaps()))


def _deploy(script: Script) -> None:
    script.move(lambda: script.site.deploy("deploy", f"--release={script.next_release()}"))


def _pause(script: Script) -> None:
    """A pause, in which now and then something else happens."""
    script.site.deploy("pause", "--max-hold=60")
    script.pass_time(0.1, 0.6)
    script.random.choice((_switch, _kill_worker, lambda _: None, lambda _: None))(script)
    script.site.deploy("resume")


def _quiet(script: Script) -> None:
    """A true quiet point, used for a while."""
    site = script.site
    site.deploy("pause", "--drain", "--max-hold=60")
    begin = time.monotonic()
    with site.metrics() as metrics:
        if left := metrics.snapshot().overall.in_flight:
            raise CommandFailed(f"pause --drain has returned, and {left} requests are in flight")
    script.pass_time(0.1, 0.6)
    script.quiet.append((begin, time.monotonic()))
    site.deploy("resume")


def _restart(script: Script) -> None:
    """A restart of either version; for the active one's its requests wait."""
    script.site.deploy("restart", script.random.choice(VERSIONS))


def _reload(script: Script) -> None:
    _meanwhile(script, "reload")


def _upgrade(script: Script) -> None:
    _meanwhile(script, "upgrade")


def _meanwhile(script: Script, command: str) -> None:
    """A command of the router, and switches for as long as it is at work."""
    process = script.site.begin("traffic_router", command)
    try:
        while process.poll() is None:
            script.play(script.random.choice(("switch", "rollback")))
    finally:
        script.site.end(process, "traffic_router", command)


def _kill_worker(script: Script) -> None:
    """kill -9 of a worker, which is stopped a moment before so that its requests can be counted."""
    begin = time.monotonic()
    worker = script.site.stop_worker(script.random)
    script.kill("worker", worker.pid, begin=begin, in_flight=worker.in_flight, held=worker.held)


def _crash(script: Script) -> None:
    """kill -9 of all processes of the active version, and its restart while its requests wait."""
    site, version = script.site, script.site.active
    for one in site.instances_of(version):
        if one.pid is not None:
            script.kill("app", one.pid, version=version, instance=one.number)
    if site.layout.has_several:
        site.wait_until_well(version)  # their supervisors start them again
    else:
        site.deploy("start", version)


def _cross(script: Script) -> None:
    """Something happens while a command is at work."""
    site, random = script.site, script.random
    program, *arguments = random.choice(
        (
            ["traffic_router", "reload"],
            ["traffic_router", "upgrade"],
            ["blue_green_deploy", "switch", site.standby, "--wait"],
            ["blue_green_deploy", "deploy", f"--release={script.next_release()}"],
        )
    )
    event = random.choice((_kill_worker, _crash))
    script.move(lambda: _meet(script, event, (0, 1), program, *arguments))


def _cross_several(script: Script) -> None:
    """A process is killed while a command replaces, adds or removes some; or a worker is."""
    site, random, release = script.site, script.random, f"--release={script.next_release()}"
    command = random.choice((["restart"], ["scale"], ["switch", site.standby, "--wait"], ["deploy", release]))
    if command[0] in ("restart", "scale"):
        command.append(random.choice(VERSIONS))
    if command[0] == "scale":
        command.append(str(random.randint(site.layout.fewest, MOST)))
    event = random.choice((_kill_worker, kill_one))
    script.move(lambda: _meet(script, event, (0, 1, 3), "blue_green_deploy", *command))
    put_in_order(site, site.asked("status"))


def _meet(
    script: Script, event: Callable[[Script], None], codes: tuple[int, ...], program: str, *arguments: str
) -> None:
    """Let an event happen while a command is at work; one that lost what it works on may end with one of the codes."""
    process = script.site.begin(program, *arguments)
    try:
        script.pass_time(0.2, 2.0)
        event(script)
    finally:
        # What a command is about to make active, or has just done, may be what is killed, and then it says so.
        says_so = event is not _kill_worker and program == "blue_green_deploy"
        script.site.end(process, program, *arguments, allowed=codes if says_so else (0,))


EVENTS: Mapping[str, _Kind] = {
    "switch": _Kind(_switch, 60),
    "rollback": _Kind(_rollback, 40),
    "deploy": _Kind(_deploy, 4),
    "pause": _Kind(_pause, 10),
    "quiet": _Kind(_quiet, 3),
    "restart": _Kind(_restart, 5),
    "reload": _Kind(_reload, 3),
    "upgrade": _Kind(_upgrade, 3),
    "worker-kill": _Kind(_kill_worker, 12),
    "app-crash": _Kind(_crash, 8),
    "command-kill": _Kind(interrupt_deploy, 12),
    "router-command-kill": _Kind(interrupt_router, 3),
    "crossing": _Kind(_cross, 6),
    "instance-kill": _Kind(kill_instance, 25, wants_several=True),
    "scale": _Kind(scale, 20, wants_several=True),
    "drain": _Kind(drain, 15, wants_several=True),
    "crossing-several": _Kind(_cross_several, 20, wants_several=True),
}
"""Every event by its name; `weight` is how often it happens beside the others."""


def events_for(layout: Layout) -> list[str]:
    """Those that can happen to such versions."""
    return [name for name, kind in EVENTS.items() if layout.has_several or not kind.wants_several]
