"""The table of the drill, and of the page `docs/how-to/incident-response.md`: what can break, and what then helps.

In every row, release r2 is active on green and r1 stands by on blue, until `breaks` is done with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.drill import breaking as it

if TYPE_CHECKING:  # the page is made where the drill's packages are not installed
    from tests.drill.scene import Done, Scene

__all__ = ["INCIDENTS", "Incident"]

Breaks = Callable[["Scene"], "Done | None"]
Mends = Callable[["Scene"], object]


@dataclass(frozen=True)
class Incident:
    """One row.

    `breaks` gives the command that met the trouble, where it is one that is told of it. `words` are the situations that
    may come of it, none where the settings keep every command from telling. `seen` is a part of what
    `blue_green_deploy status`, or that command, prints. `means` and `does` are for the page; `does` names the commands
    that are followed, and what is done by hand. `by_hand` is done once the printed text has said `says`; then `again`,
    the command that had failed, does well. `settings` are lines that come before the others. `log` and `history` have
    to be found in the router's log and in the history.
    """

    breaks: Breaks
    words: tuple[str, ...]
    seen: str
    means: str
    does: str
    says: str = ""
    by_hand: Mends | None = None
    again: str = ""
    settings: str = ""
    log: str = ""
    history: str = ""


CALM = ("serving", "switched")
DEPLOY = "deploy --release=r3"
SWITCH = "`bin/blue_green_deploy switch blue` (the other one)"
START = "`bin/blue_green_deploy start green` (the active one)"
RESTART = "`bin/blue_green_deploy restart green` (the active one)"
ROUTER = "`bin/traffic_router start --daemon`"
REPAIR = "`bin/blue_green_deploy repair --yes`; plain `repair` shows first what it would restore"

INCIDENTS = {
    "active killed": Incident(
        it.kill_active,
        ("crashed",),
        "is active but crashed",
        "its process ended; the other version is well",
        SWITCH,
        log="green",
    ),
    "both killed": Incident(
        it.kill_both,
        ("crashed",),
        "is active but crashed",
        "its process ended, and so did that of the other version",
        START,
        log="green",
    ),
    "active killed, and the other one was rolled back": Incident(
        it.crash_after_rollback,
        ("crashed",),
        "answers, but was rolled back",
        "there is a version to go to, but somebody gave it up",
        f"{START}; `bin/blue_green_deploy logs blue` says what was wrong with the other",
        log="green",
    ),
    "port of the active version taken": Incident(
        it.take_active_port,
        ("crashed", "failing"),
        "is active but crashed",
        "its process ended, and another program listens in its place",
        SWITCH,
    ),
    "active hangs": Incident(
        it.hang_active,
        ("failing",),
        "is active but failed the last",
        "its process is there and does not answer",
        SWITCH,
        log="read_timeout",
    ),
    "active answers 500": Incident(
        it.fail_everything,
        ("failing",),
        "expected 200-399",
        "every answer is an error, that to the health check too",
        SWITCH,
    ),
    "state file of other ports": Incident(
        it.put_other_ports,
        ("failing", "crashed"),
        "nothing listens on port",
        "its process is there, but the state file names another port; a restart brings it there",
        RESTART,
    ),
    "one path answers 500": Incident(
        it.fail_one_path,
        ("erring",),
        "of the last minute's requests failed",
        "it is healthy, and some of its pages are not",
        SWITCH,
    ),
    "active is slow": Incident(
        it.be_slow,
        ("erring",),
        "of the last minute's requests failed",
        "it is healthy, and its answers take longer than `read_timeout`",
        SWITCH,
        log="read_timeout",
    ),
    "failover": Incident(
        it.kill_active,
        ("failover",),
        "stands in until",
        'the standby has the traffic for now (`failover = "standby"`)',
        f"{SWITCH}, to stay there",
        settings='failover = "standby"\n',
    ),
    "active killed, with restart = on-failure": Incident(
        it.kill_restarted,
        CALM,
        "Restarts: 1 time",
        'it was started again at once (`[app] restart = "on-failure"`), and requests waited for it',
        "`bin/blue_green_deploy logs green`, when there is time",
    ),
    "active fails again and again, with restart = on-failure": Incident(
        it.fail_in_a_row,
        ("crashed",),
        "Restarts: given up after 2 times",
        "it was started again until it had failed too often in a row (`[app] restart_limit`)",
        SWITCH,
    ),
    "one of several processes killed": Incident(
        it.kill_one_of_two,
        ("reduced",),
        "ended (killed by SIGKILL)",
        "one process of the active version ended; the others have all requests",
        f"{RESTART}: one process after the other, so that the others serve meanwhile",
        log="1 of its 2 backends is out",
    ),
    "standby killed": Incident(
        it.kill_standby,
        CALM,
        "blue (standby): CRASHED",
        "nobody notices; a `rollback` starts it first",
        "`bin/blue_green_deploy logs blue`, when there is time",
    ),
    "router killed": Incident(
        it.kill_router,
        ("silent",),
        "The router does not answer, so nobody is served",
        "no router runs, whatever the versions do",
        ROUTER,
    ),
    "router's master killed": Incident(
        it.kill_master,
        ("silent",),
        "The router does not answer, so nobody is served",
        "its workers have finished what they had, and ended",
        ROUTER,
        log="The master is gone",
    ),
    "router stopped": Incident(
        it.stop_router,
        ("silent",),
        "The router does not answer, so nobody is served",
        "somebody stopped it",
        ROUTER,
        log="Shutting down",
    ),
    "worker killed": Incident(
        it.kill_worker,
        CALM,
        "green (active): HEALTHY",
        "the router's log says `Worker`; another one was started",
        "nothing",
        log="Worker",
    ),
    "worker hangs": Incident(
        it.hang_worker,
        CALM,
        "green (active): HEALTHY",
        "the others have its share, and it is replaced",
        "nothing",
    ),
    "maintenance forgotten": Incident(
        it.forget_maintenance,
        ("maintenance",),
        "MAINTENANCE: clients get 503",
        "somebody holds the traffic back",
        "`bin/blue_green_deploy maintenance off`",
        history="maintenance",
    ),
    "pause left on": Incident(
        it.leave_pause,
        ("paused",),
        "PAUSED: new requests wait",
        "somebody holds the traffic back",
        "`bin/blue_green_deploy resume`",
        history="pause",
    ),
    "drain without end": Incident(
        it.drain_for_ever,
        ("draining",),
        "in flight after",
        "traffic has moved; the old version has requests that take long, and is left running for them",
        "wait, or `bin/blue_green_deploy stop green --force` (the old one), which cuts them",
    ),
    "state file torn": Incident(
        it.lose_comma,
        ("stale",),
        "is not usable",
        "traffic flows by the last good state; no command can change anything",
        REPAIR,
    ),
    "state file deleted": Incident(
        it.delete_state,
        ("stale",),
        "there is no state file",
        "traffic flows by the last good state; no command can change anything",
        REPAIR,
    ),
    "last good state gone as well": Incident(
        it.lose_last_good_too,
        ("stale",),
        "is not usable",
        "the router has the last good state in memory: do not restart it",
        REPAIR,
    ),
    "both state files deleted": Incident(
        it.delete_both_states,
        ("stale",),
        "there is no state file",
        "the router has the last good state in memory: do not restart it",
        REPAIR,
    ),
    "settings file moved": Incident(
        it.move_settings,
        CALM,
        "no command is set",
        "there is no `traffic_router.toml` where it is looked for; what runs goes on",
        "put it back, or set `TRAFFIC_ROUTER_HOME` to where it is",
        says="traffic_router.toml",
        by_hand=it.put_settings_back,
        again=DEPLOY,
    ),
    "wrong TRAFFIC_ROUTER_HOME": Incident(
        it.ask_elsewhere,
        CALM,
        "Nothing was started here yet: there is no",
        "it is another place that was asked, as the path says; what runs goes on",
        "set `TRAFFIC_ROUTER_HOME` to the deployment's folder, and start nothing here",
        says="elsewhere",
    ),
    "health check gets 404": Incident(
        it.deploy_ill({"status": 404}),
        CALM,
        "404",
        "the new release never got the traffic; or `health_path` is not one of its paths",
        "mend the release or `[app] health_path`, and deploy again",
        says="health_path",
        by_hand=it.heal_r3,
        again=DEPLOY,
        history="404",
    ),
    "health check gets 401": Incident(
        it.deploy_ill({"status": 401}),
        CALM,
        "401",
        "the new release never got the traffic; or its health check needs a login",
        "let the path answer without one, or set `[app] health_path` or `health_statuses`, and deploy again",
        says="health_",
        by_hand=it.heal_r3,
        again=DEPLOY,
        history="401",
    ),
    "application's program missing": Incident(
        it.lose_command,
        CALM,
        "it has ended",
        "the new release never got the traffic; the lines above, of its log, say why it ended",
        "mend the release or `[app] command`, and deploy again",
        says="can't open file",
        by_hand=it.find_command,
        again=DEPLOY,
    ),
    "post command fails": Incident(
        it.fail_in_post,
        CALM,
        "a post command failed",
        "the new release had the traffic, and it was taken back",
        "mend what the command found, and deploy again",
        by_hand=it.mend_post,
        again=DEPLOY,
    ),
    "deploy killed": Incident(
        it.kill_deploy,
        CALM,
        "broke off while",  # starting or gating, as the kill comes
        "the next command says what the killed one left, and puts it in order",
        "the same command again",
    ),
    "command hangs": Incident(
        it.hang_command,
        CALM,
        "another command is at work",
        "it is named with its pid; the next one says what it left, and puts it in order",
        "wait for it, or end it by its pid, and deploy again",
        says="deploy --release=r3",
        by_hand=it.end_command,
        again=DEPLOY,
    ),
    "port of the standby taken": Incident(
        it.take_standby_port,
        CALM,
        "is taken by pid",
        "another program listens there, which is named with its pid",
        "end it, or give the version another port, and deploy again",
        says="http.server",
        by_hand=it.end_stranger,
        again=DEPLOY,
    ),
    "release of the standby deleted": Incident(
        it.delete_standby_release,
        CALM,
        "cannot be started again",
        "there is no way back to a release whose directory is gone",
        "bring its directory back, and `bin/blue_green_deploy deploy --release=r1`",
        by_hand=it.bring_r1_back,
        again="deploy --release=r1",
    ),
    "log file blocked": Incident(
        it.block_log,
        CALM,
        "could not be started",
        "the version's log cannot be written, as the line says",
        "make it writable, and deploy again",
        says="blue.log",
        by_hand=it.unblock_log,
        again=DEPLOY,
    ),
    "disk full": Incident(
        it.fill_disk,
        CALM,
        "No space left on device",
        "what runs goes on; no command can change anything",
        "make room, and give the command again",
        says="df -h",
        by_hand=it.clear_disk,
        again=DEPLOY,
        settings="# on a small disk\n",
    ),
    "bad settings": Incident(
        it.break_settings,
        (),
        "traffic_router.toml cannot be used",
        "no command runs until it is mended; what runs goes on",
        "mend the line that it names",
        by_hand=it.mend_settings,
        again="switch blue",
    ),
    "router's pid file deleted": Incident(
        it.delete_pid_file,
        CALM,
        "its pid file is gone",
        "traffic flows; `traffic_router stop`, `reload` and `upgrade` cannot find the router",
        "at a quiet time, end it by its pid and start it again",
    ),
}
"""By name, in the order of the page."""
