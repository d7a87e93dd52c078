"""Commands that are killed (kill -9) at some moment: what the next one says of them, and what mends all again."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.soak.layout import MOST
from tests.soak.site import VERSIONS, CommandFailed, Site

if TYPE_CHECKING:
    from tests.soak.events import Script

__all__ = [
    "fault_of_next_word",
    "interrupt_deploy",
    "interrupt_router",
    "put_in_order",
    "start_router",
    "stop_router",
]

HERE = "--allow=127.0.0.0/8"
"""All clients are here, so the maintenance page is for nobody."""

UPGRADE_DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True)
class _Victim:
    """A command to be killed; `first` makes that it has something to do."""

    arguments: Sequence[str]
    first: Sequence[str] = ()


def interrupt_deploy(script: Script) -> None:
    """kill -9 of a `blue_green_deploy`: the next command tells of it, and what it says is so."""
    site = script.site
    victim = script.random.choice(_victims(script))
    if victim.first:
        site.deploy(*victim.first)
    pids: list[int] = []
    script.move(lambda: pids.append(_kill_at_random(script, "blue_green_deploy", *victim.arguments)))
    put_in_order(site, _judge_next_word(site, pids[0]))


def _victims(script: Script) -> Sequence[_Victim]:
    site = script.site
    active, standby = site.active, site.standby
    release = f"--release={script.next_release()}"
    pause = ["pause", "--max-hold=60"]
    return (
        _Victim(["switch", standby]),
        _Victim(["switch", standby, "--wait"]),
        _Victim(["rollback"]),
        _Victim(["deploy", release]),
        _Victim(["deploy", release, "--stop-old"]),
        _Victim(["restart", standby]),
        _Victim(["restart", active]),
        _Victim(["stop", standby]),
        _Victim(["start", standby], first=["stop", standby]),
        _Victim(pause),
        _Victim([*pause, "--drain"]),
        _Victim(["resume"], first=pause),
        _Victim(["maintenance", "on", HERE]),
        _Victim(["maintenance", "off"], first=["maintenance", "on", HERE]),
        _Victim(["preview"]),
        *(_victims_of_several(script) if site.layout.has_several else ()),
    )


def _victims_of_several(script: Script) -> Sequence[_Victim]:
    site = script.site
    version = script.random.choice(VERSIONS)
    drain = ["drain", version, "--backend=2"]
    return (
        _Victim(["scale", version, str(site.layout.fewest)]),
        _Victim(["scale", version, str(MOST)]),
        _Victim(["restart", site.active]),
        _Victim(drain),
        *([_Victim(["undrain", *drain[1:]], first=drain)] if len(site.instances_of(version)) > 2 else ()),
    )


def _kill_at_random(script: Script, program: str, *arguments: str) -> int:
    """Begin a command, and kill it unless it ends before; its pid. Most take some tenths of a second."""
    process = script.site.begin(program, *arguments)
    try:
        process.wait(script.random.choice((0.4, 2.0)) * script.random.uniform(0.2, 1.0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return process.pid


# --- what the next command says --------------------------------------------------------------------------


def _judge_next_word(site: Site, pid: int) -> Any:
    """Have another command tell of the killed one; gives what `status` shows. Raises `CommandFailed` for a fault."""
    had_no_end = site.has_no_end(pid)
    code, said = site.said("blue_green_deploy", "maintenance", "off")
    status = site.asked("status")
    fault = fault_of_next_word(said, pid, status, had_no_end=had_no_end)
    if not fault and code != 0:
        fault = f"ended with {code}"
    if not fault and site.has_no_end(pid):
        fault = "left it without an end in the history"
    if fault:
        raise CommandFailed(f"the command after the killed one with pid {pid} {fault}; it said:\n{said}")
    return status


def fault_of_next_word(said: str, pid: int, status: Any, *, had_no_end: bool) -> str:
    """What is wrong with what a command says of a killed one, beside what `status` shows after it; "" if nothing is."""
    found = re.search(rf"\(pid {pid}\) (?:broke off|has no end)[^:]*: (.*)", said)
    if had_no_end and not found:
        return "did not tell of it"
    if found and not had_no_end:
        return "told of it, though it had come to its end"
    matches = [(re.match(claim, found[1] if found else ""), is_so) for claim, is_so in _CLAIMS.items()]
    is_true = all(is_so(match[1], status) for match, is_so in matches if match)
    return "" if is_true else f"said what is not so, for this is the status: {status}"


_CLAIMS: Final[Mapping[str, Callable[[str, Any], bool]]] = {
    r"(\w+) had no traffic yet and was stopped": lambda name, status: _status_of(name, status) == "stopped",
    r"(\w+) was not started": lambda name, status: _status_of(name, status) != "running",
    r"(\w+) (?:is stopped(?!; .* restart)|has been stopped now)": lambda name, status: (
        _status_of(name, status) == "stopped"
    ),
    r"(\w+) is active": lambda name, status: status["active_version"] == name,
    r".* was left stopped; .* start (\w+)": lambda name, status: _status_of(name, status) != "running",
    r"(\w+) is stopped; .* restart": lambda name, status: not _living(name, status),
    r"process(?:es)? (.* of \w+) (?:is|are) stopped; .* restart": lambda which, status: _are_stopped(which, status),
}
"""What may be said of a version, and whether `status` shows that it is so."""


def _status_of(version: str, status: Any) -> str:
    return str(status["versions"][version]["status"])


def _are_stopped(which: str, status: Any) -> bool:
    """Whether "1 and 3 of blue" do not live, and others of it do."""
    numbers, _, name = which.partition(" of ")
    living = _living(name, status)
    return bool(living) and living.isdisjoint(numbers.split(" and "))


def _living(name: str, status: Any) -> set[str]:
    """The numbers of those of a version's several processes that live."""
    return {str(one["number"]) for one in status["versions"][name].get("instances", []) if one["alive"]}


def put_in_order(site: Site, status: Any) -> None:
    """All processes of both versions run and are healthy, the active one first, and nothing is paused or drained."""
    for name in sorted(VERSIONS, key=lambda name: name != status["active_version"]):
        version = status["versions"][name]
        if version["status"] != "running":
            site.deploy("start", name)
        elif not all(one["ok"] for one in version.get("instances", [version["health"]])):
            site.deploy("restart", name)  # the command that was killed had told it to end
        else:
            for one in version.get("instances", []):
                if one["drained"]:
                    site.deploy("undrain", name, f"--backend={one['number']}")
    if status["pause"]:
        site.deploy("resume")


# --- commands of the router ------------------------------------------------------------------------------


def interrupt_router(script: Script) -> None:
    """kill -9 of a `traffic_router` beside the running one: nobody notices, and the same command works after that."""
    site = script.site
    name, again = script.random.choice(
        (("reload", _reload_again), ("upgrade", _upgrade_again), ("start", _start_in_vain))
    )
    before = site.router_pid
    _kill_at_random(script, "traffic_router", name, *["--daemon"][: name == "start"])
    site.router("status")
    again(site)
    if name != "upgrade" and site.router_pid != before:
        raise CommandFailed(f"after a killed {name} the router is another one, pid {site.router_pid}, not {before}")


def _reload_again(site: Site) -> None:
    site.router("reload")


def _upgrade_again(site: Site) -> None:
    """An upgrade says that one is under way, and works as soon as that is over."""
    deadline = time.monotonic() + UPGRADE_DEADLINE_S
    while True:
        code, said = site.said("traffic_router", "upgrade")
        if code == 0:
            return
        if "The last upgrade is not over" not in said or time.monotonic() > deadline:
            raise CommandFailed(f"upgrade after a killed one: {code}\n{said}")


def _start_in_vain(site: Site) -> None:
    code, said = site.said("traffic_router", "start", "--daemon")
    if code != 1 or f"already running on port {site.port} (pid {site.router_pid})" not in said:
        raise CommandFailed(f"start beside a running router: {code}\n{said}")


def start_router(script: Script) -> None:
    """kill -9 of the command that starts the router, while nobody asks; the next one starts it, or finds it running."""
    site = script.site
    _kill_at_random(script, "traffic_router", "start", "--daemon")
    code, said = site.said("traffic_router", "start", "--daemon")
    if code != 0 and "already running" not in said:
        raise CommandFailed(f"start after a killed one: {code}\n{said}")
    if f"(pid {site.router_pid})" not in said:
        raise CommandFailed(f"start tells of another router than pid {site.router_pid}:\n{said}")
    site.router("status")


def stop_router(script: Script) -> None:
    """kill -9 of the command that stops the router, while nobody asks; the next one stops it, or finds it stopped."""
    site = script.site
    _kill_at_random(script, "traffic_router", "stop")
    code, said = site.said("traffic_router", "stop")
    if code != 0 and "Router is not running" not in said:
        raise CommandFailed(f"stop after a killed one: {code}\n{said}")
    site.router("start", "--daemon")
    site.router("status")
