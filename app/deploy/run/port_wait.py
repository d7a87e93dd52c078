"""The port of a process that is to be started: taken by another one, kept by what is left of the last, or free; or its
socket.
"""

from __future__ import annotations

from pathlib import Path

from app.address import Address
from app.deploy.deployment import Deployment
from app.deploy.processes.port_use import can_listen, given_away_text, kept_by
from app.deploy.processes.sessions import port_holder
from app.deploy.processes.socket_files import make_way
from app.operator_errors import ProcessError
from app.settings.loading import TOML_NAME
from app.state.model import VersionState
from app.transport.loopback import is_open, port_is_open

__all__ = ["get_port", "get_socket"]

_PORT_WAIT_S = 65.0
"""Linux keeps a connection in TIME-WAIT for 60 s, whatever is set (`TCP_TIMEWAIT_LEN`)."""

_PORT_POLL_S = 0.2


def get_port(deployment: Deployment, version: VersionState) -> None:
    """See to it that the version can listen on its port; waits for connections of a former server that will end."""
    address, port = deployment.app.address, version.port
    if port_is_open(port, address):
        raise _port_taken(version, deployment.store.path)
    if given_away := given_away_text({version.name: port}):
        deployment.note("; ".join(given_away), warns=True)
    if can_listen(address, port):
        return
    kept = kept_by(port)
    deployment.note(
        f"port {port} of {version.name} has {kept or 'a bound socket'}: waiting until it is free", warns=True
    )
    ends_at = deployment.clock() + _PORT_WAIT_S
    while not can_listen(address, port):
        if deployment.clock() >= ends_at:
            raise ProcessError(
                f"port {port} of {version.name} is not free after {_PORT_WAIT_S:.0f} s, though nothing listens there: "
                f"it has {kept_by(port) or 'a bound socket'}",
                f"sudo ss -tanp 'sport = :{port}'   # whose they are",
            )
        deployment.sleep(_PORT_POLL_S)


def get_socket(deployment: Deployment, name: str, path: str) -> None:
    """See to it that a process can listen on its socket: what is left of the last one is removed."""
    if is_open(Address(path)):
        raise ProcessError(
            f"{path} of {name} is taken: something listens there", f"sudo ss -xlp src {path}   # who it is"
        )
    try:
        make_way(path)
    except OSError as error:
        raise ProcessError(
            f"{name} cannot have the socket {path}: {error.strerror}", f"ls -ld {path.rpartition('/')[0]} {path}"
        ) from error


def _port_taken(version: VersionState, path: Path) -> ProcessError:
    # The state file's port wins, once there is one.
    name = version.name
    setting = f"versions.{name}.port in {path}" if path.exists() else f"[app] {name}_port in {TOML_NAME}"
    holder = port_holder(version.port) or "a process that this user may not see"
    return ProcessError(
        f"port {version.port} of {version.name} is taken by {holder}",
        f"end it, or give {name} another port while it is stopped: {setting}",
    )
