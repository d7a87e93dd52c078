"""Starting the processes of a version, all of them or one."""

from __future__ import annotations

from dataclasses import replace

from app.command_line import PROGRAM
from app.deploy.events import Launched
from app.deploy.phases import Operation
from app.deploy.plan_run import PlanRun
from app.deploy.processes.launch import RestartPolicy, launch_of
from app.deploy.processes.log_file import size
from app.deploy.run.port_wait import get_port, get_socket
from app.operator_errors import ProcessError
from app.state.instances import count_of, one_of, socket_of
from app.state.model import VersionState
from app.state.process_birth import birth
from app.state.release import Release

__all__ = ["get_place", "launch", "launch_one"]


def launch(run: PlanRun) -> None:
    """Start the target's processes, or those of the plan's turn, and record them."""
    deployment, plan = run.deployment, run.plan
    version, release = plan.spec, plan.release
    if release is None:
        raise ProcessError(f"nothing says what {version.name} is to be started with", f"{PROGRAM} status")
    numbers = run.turn or range(1, count_of(version) + 1)
    for number in numbers:
        launch_of(release, version, deployment.app.address, number)  # before anything is touched
    before = deployment.store.read_or_new().version(version.name)
    # What a crashed process has left behind would keep the port.
    deployment.end(replace(version, instances=before.instances))
    for number in numbers:
        get_place(run, version, number)
    is_same = version.release == before.release and (version.release or version.started_with == before.started_with)
    fresh = replace(
        version,
        rolled_back_at=before.rolled_back_at if is_same else None,
        status="starting",
        pid=None,
        pid_birth=None,
        started_at=deployment.now(),
        exit_status=None,
        stop_signal=release.stop_signal,
    )
    deployment.put(fresh)
    for number in numbers:
        pid = launch_one(run, fresh, number, release)
        if number == 1:
            deployment.put(replace(fresh, pid=pid, pid_birth=birth(pid)))


def launch_one(run: PlanRun, version: VersionState, number: int, release: Release) -> int:
    """Start one of a version's processes where nothing listens; gives its pid, which is not recorded yet."""
    deployment, plan = run.deployment, run.plan
    one = one_of(version, number)
    launch = launch_of(release, version, deployment.app.address, number)
    log = deployment.processes.log_path(one.name)
    run.log_begins[one.name] = size(log)
    if (app := deployment.app).restart == "on-failure":
        launch = launch._replace(restart=RestartPolicy(app.restart_limit, app.restart_delay, app.stop_timeout))
    pid = deployment.processes.start(one.name, launch)
    deployment.report(
        Launched(
            version=one.name,
            pid=pid,
            place=socket_of(version, number) or f"port {one.port}",
            command=launch.command,
            directory=launch.directory,
            release=version.release,
            log=None if plan.operation is Operation.RUN else log,
            is_demo=release.is_demo,
            is_further=number > 1,
        )
    )
    return pid


def get_place(run: PlanRun, version: VersionState, number: int) -> None:
    """See to it that one of a version's processes can listen where it is to."""
    if socket := socket_of(version, number):
        get_socket(run.deployment, one_of(version, number).name, socket)
    else:
        get_port(run.deployment, one_of(version, number))
