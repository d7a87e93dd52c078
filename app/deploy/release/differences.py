"""Where the state and the settings name different things: one of them may belong to another place or time."""

from __future__ import annotations

from app.deploy.deployment import Deployment
from app.deploy.release.missing_command import settings_in_use
from app.operator_errors import StateError
from app.settings.loading import TOML_NAME
from app.state.model import PORTS, BlueGreenState, VersionState
from app.state.release import Release

__all__ = ["differences"]


def differences(deployment: Deployment, state: BlueGreenState) -> str:
    """One line about what differs; "" when nothing does."""
    found = _of_ports(deployment, state)
    if state.active is not None:
        found += _of_active(deployment, state.active)
    return f"settings and state differ: {'; '.join(found)}" if found else ""


def _of_ports(deployment: Deployment, state: BlueGreenState) -> list[str]:
    """Ports that the settings give, and not as the state has them; the defaults say nothing."""
    return [
        f"{name} listens on port {state.version(name).port}, and the settings say {port}"
        for name, port in deployment.app.ports.items()
        if port not in (PORTS[name], state.version(name).port)
    ]


def _of_active(deployment: Deployment, version: VersionState) -> list[str]:
    release = _record_of(deployment, version)
    if release is None or release.is_demo:
        return []
    file = settings_in_use()
    if release.settings_file not in (None, file):
        return [f"{version.name} was started by {release.settings_file}, and {_read(file)}"]
    if not (version.command or deployment.app.command):
        return [f"{version.name} was started with {release.given_command!r}, and the settings name no command"]
    if version.dir is None and release.given_dir != deployment.app.dir:
        return [f"{version.name} was started with dir {release.given_dir}, and the settings say {deployment.app.dir}"]
    return []


def _read(file: str | None) -> str:
    return f"{file} is read now" if file else f"there is no {TOML_NAME} now"


def _record_of(deployment: Deployment, version: VersionState) -> Release | None:
    try:
        return deployment.releases.read(version.record) if version.record else None
    except StateError:
        return None
