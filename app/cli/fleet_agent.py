"""`blue_green_deploy agent`: what a machine of a fleet runs beside its router, until it is told to end."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from app import __version__
from app.cli.deploy_call import Call
from app.cli.fleet_tools import open_duty
from app.fleet.agent import Agent, OwnSight
from app.fleet.duty import Duty
from app.fleet.etcd import Etcd
from app.fleet.etcd_gateway import EtcdAccess, Gateway
from app.fleet.registration import Place, Registration
from app.fleet.sight import FleetSight, NodeSight
from app.fleet.sight_file import SIGHT_NAME
from app.metrics.shared import SharedMetrics
from app.operator_errors import ConfigError, LockBusy, MetricsError, StateError
from app.settings.checks import is_node
from app.settings.tables.fleet_settings import FleetConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS, VersionState
from app.state.store import FILE_MODE, make_folder

__all__ = ["node_name", "own_figures", "run_agent"]

_LOCK_NAME: Final = "fleet_agent.lock"
"""Never removed, as another may be waiting on it."""


def run_agent(call: Call) -> int:
    """Be this machine's agent until a signal ends it.

    Raises `ConfigError` on a machine that belongs to no fleet, `LockBusy` where an agent runs here, `NameTaken` where
    one of the same name runs elsewhere, and `StoreRefused` where etcd does not let us in.
    """
    config = call.fleet
    if not config.is_on:
        raise ConfigError(
            "this machine belongs to no fleet", "[fleet] name and endpoints in traffic_router.toml, on each node"
        )
    node, folder = node_name(config), call.store.folder
    access = EtcdAccess(config.endpoints, config.user, config.password_file, config.ca, config.cert, config.key)
    with _alone(folder), closing(Gateway(access)) as gateway:
        print(f"▶ {node} of the fleet {config.name}, over {', '.join(config.endpoints)}", flush=True)
        duty = open_duty(call.config, node)
        agent = Agent(
            Etcd(gateway, config.root),
            Registration(node, Place(socket.gethostname(), str(folder), os.getpid())),
            FleetSight(config.name, node, 0.0),
            folder / SIGHT_NAME,
            lambda: OwnSight(_own(call, duty), duty.alarm),
            lambda line: print(line, flush=True),
            (duty,),
        )
        with suppress(KeyboardInterrupt):
            agent.run()
    print(f"⏹ {node} has left the fleet; its traffic goes on", flush=True)
    return 0


def node_name(config: FleetConfig) -> str:
    """What this machine is called in its fleet; raises `ConfigError` where its host name cannot be that."""
    node = config.node or socket.gethostname()
    if not is_node(node):
        raise ConfigError(f"the host name {node!r} cannot be a node's", 'node = "web-1" in [fleet]')
    return node


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other agent runs for this deployment."""
    try:
        make_folder(folder)
        descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise StateError(f"{folder / _LOCK_NAME} cannot be opened: {error.strerror}", f"ls -ld {folder}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LockBusy("an agent of this deployment is running already", f"fuser -v {folder / _LOCK_NAME}") from None
    finally:
        os.close(descriptor)


def _own(call: Call, duty: Duty) -> NodeSight:
    """How this machine is, by its state file, its router's figures and what its duty has come to."""
    active = None
    with suppress(StateError):
        active = call.store.read_or_new().active
    in_flight, is_well = own_figures(call.config, active)
    named = (active.release or "", active.name) if active is not None else ("", "")
    return NodeSight(
        *named,
        is_well=is_well,
        in_flight=in_flight,
        epoch=duty.memory.applied,
        is_diverged=duty.has_diverged,
        router=__version__,
    )


def own_figures(config: RouterConfig, active: VersionState | None) -> tuple[int, bool | None]:
    """How many requests are in flight, and whether the active version was well when it was last asked.

    What was found before it was started is another release's, or nobody's.
    """
    try:
        metrics = SharedMetrics.open(config.metrics_path)
    except MetricsError:
        return 0, None
    with closing(metrics):
        probes = metrics.probes(active.index) if active is not None else ()
        since = active.started_at or 0.0 if active is not None else 0.0
        return sum(map(metrics.in_flight, VERSIONS)), probes[-1].ok if probes and probes[-1].at >= since else None
