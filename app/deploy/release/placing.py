"""Where the processes of a version that is to be started will listen, and what would keep them from it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from app.address import Address
from app.deploy.deployment import Deployment
from app.deploy.processes.socket_files import is_something_else
from app.operator_errors import ConfigError
from app.settings.commands import takes_socket
from app.settings.tables.app_settings import AppConfig
from app.state.instances import addresses_for, recorded
from app.state.model import VersionState, other
from app.state.release import Release

__all__ = ["placed"]


def placed(
    deployment: Deployment, version: VersionState, release: Release, *, is_new: bool, count: int | None = None
) -> VersionState:
    """The version with where it is to listen: as many processes as are set, or `count`.

    A release that is started again listens as its command has it, whatever `[app] bind` says by now. Raises
    `ConfigError` with all that is in the way.
    """
    app, folder = deployment.app, os.path.abspath(deployment.store.folder)
    takes = takes_socket([*release.command, *release.env.values()])
    is_unix = app.bind == "unix" if is_new else takes
    app = replace(app, bind="unix" if is_unix else "tcp")
    faults = []
    if is_unix and not takes:
        faults.append('bind = "unix", and the command has no {socket}, nor $BG_SOCKET: nothing would listen there')
    if not is_unix and "{socket}" in " ".join(release.command):
        faults.append('the command has {socket}, which there is with bind = "unix" alone')
    try:
        addresses = addresses_for(version, app.instances if count is None else count, app, folder)
    except ValueError as error:
        faults.append(f"{error}; a shorter one to the state file (state_file) helps")
        addresses = ()
    if is_unix:
        faults += [f"{it.host} is there, and no socket" for it in addresses if is_something_else(it.host)]
    elif len(addresses) > 1:
        faults += _collisions(deployment, version, [it.port for it in addresses])
    if faults:
        raise ConfigError("\n  ".join([f"{version.name} cannot be started:", *faults]), "[app] in traffic_router.toml")
    return replace(version, instances=recorded(addresses), drained=())


def _collisions(deployment: Deployment, version: VersionState, ports: list[int]) -> Iterable[str]:
    """What is wrong with these ports; those of the state file are not in the settings, where this is looked at, too."""
    others = deployment.store.read_or_new().version(other(version.name))
    if deployment.is_run_by_others(others):
        others = replace(others, instances=())
    theirs = {others.port, *(address.port for address in addresses_for(others, len(ports), _tcp(deployment), ""))}
    theirs |= {Address.parse(text).port for text in others.instances}
    for number, port in enumerate(ports, start=1):
        what = f"process {number} of {version.name} would listen on port {port}"
        if port > 65535:
            yield f"{what}, and the last one is 65535"
        if port == deployment.main_port:
            yield f"{what}, which is the router's"
        if port in theirs:
            yield f"{what}, which is one of {others.name}'s"


def _tcp(deployment: Deployment) -> AppConfig:
    return replace(deployment.app, bind="tcp")
