"""What would stand in the way of a router that is to be started; it itself could only say so in its log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.address import backends_of, is_name
from app.cli.router_process import check_port_is_free, find_router
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.processes.port_use import given_away_text
from app.operator_errors import ConfigError, ProcessError, StateError, StateMissing
from app.proxy.request_log.outlet import open_outlet
from app.settings.loading import Loaded
from app.settings.tables.login_settings import LoginConfig
from app.settings.tables.router_settings import RouterConfig
from app.settings.toml_file import check_libraries
from app.state.instances import all_of
from app.state.listening import listed
from app.state.model import BlueGreenState, versions_on
from app.state.store import StateStore, make_folder, mending
from app.transport.names import addresses_of

__all__ = ["check_start"]

_NO_VERSION = "No version is active"


def check_start(loaded: Loaded) -> None:
    """Warn when requests would get 503; raises `ConfigError` or `ProcessError` for what must not or cannot be."""
    config, store = loaded.config, StateStore(loaded.config.state_file, loaded.app.ports)
    _check_files(config)
    state, reason, hint = _state(store)
    _check_address(config, state)
    _check_names(loaded, state)
    _check_logins(loaded)
    ones = [one for version in state.versions.values() for one in all_of(version)]
    ports = {"the router": config.main_port} | {one.name: one.port for one in ones}
    if given_away := given_away_text(ports):
        print("⚠️  {}\n   Try: {}".format(*given_away), file=sys.stderr)
    if state.active_version is not None and hint:
        print(f"⚠️  {reason}; the last good state is served\n   Try: {hint}", file=sys.stderr)
    if state.active_version is None:
        print(f"⚠️  {reason}: requests get 503\n   Try: {hint}", file=sys.stderr)


def _check_files(config: RouterConfig) -> None:
    folder = Path(config.state_file).parent
    try:
        make_folder(folder)
    except OSError as error:
        raise ProcessError(f"{folder} cannot be made: {error.strerror}", mending(error, folder)) from error
    if config.access_log:
        open_outlet(config.access_log).close()


def _state(store: StateStore) -> tuple[BlueGreenState, str, str]:
    """The state that the router will serve; what is wrong with it and what helps, "" when nothing is."""
    try:
        state = store.read()
    except StateError as error:
        last = store.last_good()
        if last is None and isinstance(error, StateMissing):
            return BlueGreenState(versions=versions_on(store.ports)), _NO_VERSION, error.hint
        return last or BlueGreenState(versions=versions_on(store.ports)), str(error), error.hint
    return (state, "", "") if state.active else (state, _NO_VERSION, f"{PROGRAM} start blue")


def _check_names(loaded: Loaded, state: BlueGreenState) -> None:
    """Raises `ConfigError` for names without an address: at a start that is most likely a typing error."""
    places = {
        (version.name, backend.address.host)
        for version in state.versions.values()
        for backend in backends_of(listed(version, loaded.backends))
        if is_name(backend.address.host) and not addresses_of(backend.address.host)
    }
    if places:
        faults = [f"[backends] {version}: no address of {host} is known" for version, host in sorted(places)]
        raise ConfigError("\n".join(faults), " && ".join(f"getent hosts {host}" for _, host in sorted(places)))


def _check_logins(loaded: Loaded) -> None:
    """Raises `ConfigError` for missing libraries, and for files without usable keys; an issuer's may come later."""
    configs = loaded.every(LoginConfig)
    if not configs:
        return
    check_libraries(loaded)
    from app.logins.logins import Logins  # it needs what most commands do without

    for keys in Logins(configs, Path(loaded.config.state_file).parent).keys():
        if keys.source.startswith("/") and not keys.keys:
            raise ConfigError(f"[[login]] jwt.jwks = {keys.source}: {keys.fault}", f"head -c 200 {keys.source}")


def _check_address(config: RouterConfig, state: BlueGreenState) -> None:
    for version in state.versions.values():
        for one in all_of(version):
            if one.port == config.main_port:
                raise ConfigError(
                    f"main_port = {config.main_port}: {one.name} listens there", "--port with another number"
                )
    running = find_router(config)
    # Two would write one pid file, and the commands lose sight of one of them.
    if running is not None and running.port != config.main_port:
        raise ProcessError(
            f"The router is already running on port {running.port} (pid {running.pid})",
            f"{ROUTER_PROGRAM} stop, or TRAFFIC_ROUTER_HOME=FOLDER for one beside it",
        )
    # A socket that systemd opened for this very process is no stranger on our port (sd_listen_fds(3)).
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        check_port_is_free(config)
