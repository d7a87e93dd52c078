"""The table of the drill, and of the page `docs/how-to/incident-response.md`: what can break, and what then helps.

In every row, release r2 is active on green and r1 stands by on blue, until `breaks` is done with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the page is made where the drill's packages are not installed
    from tests.drill.scene import Done, Scene

__all__ = ["INCIDENTS", "Incident"]

Breaks = Callable[["Scene"], "Done | None"]
Mends = Callable[["Scene"], object]


@dataclass(frozen=True)
class Incident:
    """One row.

    `breaks` gives the command that met the trouble, where it is one that is told of it. `words` are the situations that
    may come of it, and `seen` is a part of what `blue_green_deploy status`, or that command, prints. `means` and `does`
    are for the page; `does` names the commands that are followed, and what is done by hand. `by_hand` is done once the
    printed text has said `says`. `log` and `history` have to be found in the router's log and in the history.
    """

    breaks: Breaks
    words: tuple[str, ...]
    seen: str
    means: str
    does: str
    says: str = ""
    by_hand: Mends | None = None
    log: str = ""
    history: str = ""


def kill_active(scene: Scene) -> None:
    scene.kill("green")


def hang_active(scene: Scene) -> None:
    scene.kill("green", signal.SIGSTOP)


def fail_everything(scene: Scene) -> None:
    scene.does("r2", every={"status": 500})


def fail_one_path(scene: Scene) -> None:
    scene.does("r2", cart={"status": 500})


def kill_standby(scene: Scene) -> None:
    scene.kill("blue")


def kill_both(scene: Scene) -> None:
    scene.kill("blue")
    scene.kill("green")


def kill_router(scene: Scene) -> None:
    for process in scene.processes():
        if "gunicorn" in " ".join(process.cmdline()):
            process.kill()


def stop_router(scene: Scene) -> None:
    scene.router("stop")


def kill_worker(scene: Scene) -> None:
    assert scene.router_pid is not None
    os.kill(scene.workers()[0], signal.SIGKILL)


def lose_comma(scene: Scene) -> None:
    text = scene.state_file.read_text()
    scene.state_file.write_text(text.replace('"active_version": "green",', '"active_version": "green"'))


def delete_state(scene: Scene) -> None:
    scene.state_file.unlink()


def lose_last_good_too(scene: Scene) -> None:
    lose_comma(scene)
    scene.last_good.unlink()


def forget_maintenance(scene: Scene) -> None:
    scene.deploy("maintenance", "on", "--message=Back at nine")


def leave_pause(scene: Scene) -> None:
    scene.deploy("pause", "--max-hold=600")


INCIDENTS = {
    "active killed": Incident(
        kill_active,
        ("crashed",),
        "Green r2 is active but crashed",
        "its process ended; the other version is well",
        "`switch` to the other one; `logs` says why this one ended",
        log="green",
    ),
    "active hangs": Incident(
        hang_active,
        ("failing",),
        "Green r2 is active but failed the last",
        "the process is there, and does not answer",
        "`switch` to the other one",
        log="read_timeout",
    ),
    "active answers 500": Incident(
        fail_everything,
        ("failing",),
        "Green r2 is active but failed the last",
        "every answer is an error, that to the health check too",
        "`switch` to the other one",
    ),
    "one path answers 500": Incident(
        fail_one_path,
        ("erring",),
        "of the last minute's requests failed",
        "it is healthy, and some of its pages are not",
        "`switch` to the other one",
    ),
    "standby killed": Incident(
        kill_standby,
        ("serving", "switched"),
        "blue (standby): CRASHED",
        "nobody notices, but there is no way back",
        "`start blue`",
    ),
    "both killed": Incident(
        kill_both,
        ("crashed",),
        "Green r2 is active but crashed",
        "there is no version to switch to",
        "`start` the active one again",
        log="green",
    ),
    "router killed": Incident(
        kill_router,
        ("silent",),
        "The router does not answer, so nobody is served",
        "no router runs, whatever the versions do",
        "`traffic_router start`",
    ),
    "router stopped": Incident(
        stop_router,
        ("silent",),
        "The router does not answer, so nobody is served",
        "somebody stopped it",
        "`traffic_router start`",
        log="Shutting down",
    ),
    "worker killed": Incident(
        kill_worker,
        ("serving", "switched"),
        "green (active): HEALTHY",
        "the router started another one; the requests of the killed one are lost",
        "nothing",
        log="Worker",
    ),
    "state file torn": Incident(
        lose_comma,
        ("stale",),
        "The state file is broken",
        "traffic flows by the last good state; no command can change anything",
        "`repair`",
    ),
    "state file deleted": Incident(
        delete_state,
        ("stale",),
        "The state file is broken",
        "traffic flows by the last good state; no command can change anything",
        "`repair`",
    ),
    "last good state gone as well": Incident(
        lose_last_good_too,
        ("stale",),
        "The state file is broken",
        "the router still knows where requests go; the history and the processes know the rest",
        "`repair`",
    ),
    "maintenance forgotten": Incident(
        forget_maintenance,
        ("maintenance",),
        "MAINTENANCE: clients get 503",
        "an operator holds the traffic back",
        "`maintenance off`",
        history="maintenance",
    ),
    "pause left on": Incident(
        leave_pause,
        ("paused",),
        "PAUSED: new requests wait",
        "an operator holds the traffic back",
        "`resume`",
        history="pause",
    ),
}
