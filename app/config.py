"""The router's settings: one field, one default, one unit, one line of help; and the layers they come from.

`RouterConfig` is read on the way of every request, so its settings are plain attributes. Precedence: command
line over environment (`TRAFFIC_ROUTER_<FIELD>`, and `PORT`) over `traffic_router.toml` over defaults.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, NamedTuple, cast

from app import config_checks as checks
from app.app_config import APP_RULES, RELEASE_RULES, AppConfig, DeployConfig, ReleaseConfig, dir_in_effect
from app.hold_config import HoldConfig
from app.settings import (
    Given,
    Rule,
    enforce,
    from_environment,
    from_table,
    raise_faults,
    resolve,
    setting,
    unknown_name,
)
from app.shell_text import idiom_in

__all__ = ["ENV_PREFIX", "HOME_VARIABLE", "TOML_NAME", "AppConfig", "DeployConfig", "Loaded", "ReleaseConfig"]
__all__ += ["RouterConfig", "load"]

ENV_PREFIX = "TRAFFIC_ROUTER_"
HOME_VARIABLE = "TRAFFIC_ROUTER_HOME"
TOML_NAME = "traffic_router.toml"

_ALIASES = {"PORT": "main_port"}
"""What hosting platforms set; the prefixed name is the more deliberate one and wins."""

_DAY_S = 86_400.0

_PRIVATE_NETWORKS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)
"""Loopback (RFC 1122, RFC 4291), private (RFC 1918, RFC 4193) and link-local ranges (RFC 3927, RFC 4291)."""

_ROUTER_RULES = (
    Rule(
        ("connection_timeout", "response_timeout"),
        lambda connect, total: total == 0 or connect <= total,
        "the deadline for the whole answer would pass before a connection may fail",
    ),
    Rule(
        ("max_client_connections", "max_connections"),
        lambda client, every: client <= every,
        "one client cannot hold more connections than a worker accepts",
    ),
    Rule(
        ("metrics_file", "state_file"),
        lambda metrics, state: metrics != state,
        "the metrics file would overwrite the state file",
    ),
    Rule(
        ("admin_bind", "main_port"),
        lambda admin, port: admin.rpartition(":")[2] != str(port),
        "the clients' port cannot be that of the router's own endpoints as well",
    ),
    Rule(
        ("access_log", "state_file"),
        lambda log, state: log != state,
        "the access log would be written into the state file",
    ),
)


@dataclass(frozen=True)
class RouterConfig(HoldConfig):
    """Everything that can be set about the router; raises `ConfigError` with every fault when made."""

    # Where it listens and keeps its files
    main_port: int = setting(5004, "Port for incoming traffic; `$PORT` sets it too.", low=1, high=65535)
    bind: str = setting(
        "0.0.0.0",
        "Address to listen on.",
        rule="an IP address or a host name, without port",
        check=checks.is_bind,
    )
    name: str = setting(
        "",
        "What this deployment is called on its page and in headings, logs and metrics, where one machine has several.",
        zero="no name",
        rule="a text of 40 characters at most, on one line",
        check=checks.is_name,
    )
    workers: int = setting(0, "Worker processes.", low=0, high=256, zero="one per core")
    max_requests: int = setting(
        0,
        "Replace a worker after so many requests, and up to a tenth more at random; nothing is lost.",
        low=0,
        high=1_000_000_000,
        zero="never",
    )
    state_file: str = setting(
        ".local_context/bg_state.json", "Blue-green state file.", rule="a file's path", check=checks.is_file
    )
    metrics_file: str = setting(
        "", "File of the metrics that the workers share.", zero="`router_metrics.mmap` beside the state file"
    )
    log_level: str = setting(
        "info",
        "How much the router's own log tells.",
        rule="one of debug, info, warning, error, critical",
        check=checks.is_log_level,
    )
    log_format: str = setting(
        "text", "How the router's log is written.", rule="text, or json: one object a line", check=checks.is_log_format
    )
    access_log: str = setting("", "JSON access log: a file, or `-` for standard output.", zero="no access log")

    # Waiting for the active version
    read_timeout: float = setting(
        30.0,
        "Wait for the answer's head, and between its bytes; then 504.",
        unit="seconds",
        low=0.001,
        high=_DAY_S,
    )
    connection_timeout: float = setting(
        5.0, "Wait for a connection to the active version; then 502.", unit="seconds", low=0.001, high=300
    )
    response_timeout: float = setting(
        0.0,
        "Deadline for the whole answer; then 504.",
        unit="seconds",
        low=0,
        high=_DAY_S,
        zero="no deadline",
    )
    tunnel_idle_timeout: float = setting(
        300.0,
        "Close a WebSocket or other tunnel that is silent this long.",
        unit="seconds",
        low=1,
        high=_DAY_S,
    )
    pool_size: int = setting(
        1024, "Connections to a version that one worker may hold, tunnels not counted.", low=1, high=65535
    )
    pool_idle_timeout: float = setting(
        60.0,
        "Drop an idle connection to a version; keep it below the application's own keep-alive time.",
        unit="seconds",
        low=0,
        high=3600,
        zero="never reuse a connection",
    )
    health_check_interval: float = setting(
        5.0, "Time between health checks of the versions.", unit="seconds", low=0.1, high=3600
    )

    # Serving clients
    max_connections: int = setting(10_000, "Client connections that one worker accepts.", low=1, high=1_000_000)
    max_client_connections: int = setting(
        0,
        "Connections of one client address that one worker accepts.",
        low=0,
        high=1_000_000,
        zero="no limit",
    )
    keepalive_timeout: float = setting(
        75.0,
        "Close a client's idle connection.",
        unit="seconds",
        low=0,
        high=3600,
        zero="close after each answer",
    )
    head_timeout: float = setting(
        15.0,
        "A request's head must be complete within this time; then 408.",
        unit="seconds",
        low=0.1,
        high=3600,
    )
    send_timeout: float = setting(
        60.0,
        "Give up on a client that takes no bytes of its answer for this long.",
        unit="seconds",
        low=0.1,
        high=3600,
    )
    body_rate_floor: int = setting(
        100,
        "Bytes per second that a request's body must keep up, averaged over 10 seconds; then 408.",
        unit="bytes",
        low=0,
        high=1 << 30,
        zero="any pace will do",
    )
    max_body_bytes: int = setting(
        0, "Longest request body; then 413.", unit="bytes", low=0, high=1 << 50, zero="no limit"
    )
    max_request_line_bytes: int = setting(8190, "Longest request line; then 414.", unit="bytes", low=256, high=1 << 20)
    max_head_bytes: int = setting(
        65_536, "Longest header section, all fields together; then 431.", unit="bytes", low=1024, high=1 << 24
    )
    max_fields: int = setting(200, "Most header fields in a request; then 431.", low=1, high=10_000)

    # Forwarding
    forwarded_hops: int = setting(
        0,
        "Trusted proxies in front of the router, whose word on the client's address, scheme and host is believed.",
        low=0,
        high=16,
    )
    via: str = setting(
        "",
        "Name in the `Via` field of forwarded messages.",
        zero="no `Via`",
        rule="a token",
        check=checks.is_pseudonym,
    )
    server_timing: bool = setting(False, "Add a `Server-Timing` field with the router's share of the time.")
    allow_trace: bool = setting(False, "Pass TRACE requests on.")
    upgrades: tuple[str, ...] = setting(
        ("websocket",),
        "Protocols that a connection may be upgraded to; a name without a version stands for all of them.",
        zero="none",
        rule="a list of protocols such as websocket; HTTP and TLS, which would go on unread, are none",
        check=checks.is_upgrade,
    )
    pass_underscore_fields: bool = setting(
        False, "Pass header fields with `_` in the name; aliases of the forwarding fields only from a trusted proxy."
    )

    # Watching
    metrics_enabled: bool = setting(True, "Collect metrics and serve them.")
    metrics_exclude: tuple[str, ...] = setting(
        (),
        "Paths that the metrics leave out; a `*` at the end makes a prefix of it.",
        rule="a list of paths that begin with /",
        check=checks.is_path,
    )
    dashboard_path: str = setting(
        "/monitoring",
        "Where the dashboard is.",
        zero="no dashboard",
        rule="empty, or a path such as /monitoring that does not begin with /__",
        check=checks.is_own_path,
    )
    admin_allow: tuple[str, ...] = setting(
        _PRIVATE_NETWORKS,
        "Networks that may read the router's own endpoints.",
        rule="a list of IP addresses and networks such as 10.0.0.0/8 (no bits set beyond the prefix)",
        check=checks.is_network,
    )
    admin_token: str = setting("", "Also lets in who shows this token, from anywhere.", zero="no token", secret=True)
    admin_bind: str = setting(
        "",
        "A second address for the router's own endpoints, which the port of the clients then does not answer.",
        zero="they are where the clients are",
        rule="an address with a port, such as 127.0.0.1:5014",
        check=checks.is_listen_address,
    )
    show_cause: str = setting(
        "admin",
        "Who is told the cause of an error of the router's own: those who may see its endpoints, everybody, or nobody.",
        rule="admin, always or never",
        check=checks.is_cause_audience,
    )

    # Switching and stopping
    drain_timeout: float = setting(
        30.0,
        "After a switch, wait for the old version's requests in flight.",
        unit="seconds",
        low=0,
        high=_DAY_S,
    )
    graceful_timeout: float = setting(
        30.0, "A worker told to stop may finish its requests.", unit="seconds", low=1, high=3600
    )

    def __post_init__(self) -> None:
        enforce(self, _ROUTER_RULES)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> RouterConfig:
        """The configuration that the environment alone gives; raises `ConfigError` with every fault."""
        return load({}, environ, {}).config

    @property
    def listens_at(self) -> list[str]:
        """Where the router listens, each an address with its port; the clients' one comes first."""
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        return [f"{host}:{self.main_port}", *([self.admin_bind] if self.admin_bind else [])]

    @property
    def metrics_path(self) -> str:
        """The shared metrics file in effect."""
        return self.metrics_file or self.beside_state("router_metrics.mmap")

    @property
    def pid_path(self) -> str:
        """The running router's pid file."""
        return self.beside_state("router.pid")

    def beside_state(self, name: str) -> str:
        """The path of a file in the state file's directory."""
        return str(PurePosixPath(self.state_file).parent / name)


class Loaded(NamedTuple):
    """The settings in effect, and the source of each: `sources["read_timeout"]`, `sources["app.dir"]`."""

    config: RouterConfig
    app: AppConfig
    sources: Mapping[str, str]
    deploy: DeployConfig
    release: ReleaseConfig


def load(cli: Mapping[str, str], environ: Mapping[str, str], toml: Mapping[str, object]) -> Loaded:
    """Put the layers together, strongest first.

    `cli`, and `toml` at its top level or in `[router]`, are keyed by field name; `[app]` is `AppConfig`, `[deploy]` is
    `DeployConfig`, `[release]` is `ReleaseConfig`.
    Raises `ConfigError` with every fault.
    """
    top, tables, faults = _split(toml)
    given: list[Given] = []
    for values, unknown in (
        from_table(RouterConfig, cli, "command line"),
        from_environment(RouterConfig, environ, ENV_PREFIX, _ALIASES, [HOME_VARIABLE]),
        from_table(RouterConfig, tables["router"], f"{TOML_NAME} [router]"),
        from_table(RouterConfig, top, TOML_NAME),
    ):
        given += values
        faults += unknown
    app_given, unknown = from_table(AppConfig, _whole(tables["app"]), f"{TOML_NAME} [app]")
    faults += unknown
    deploy_given, unknown = from_table(DeployConfig, _whole(tables["deploy"]), f"{TOML_NAME} [deploy]")
    faults += unknown
    release_given, unknown = from_table(ReleaseConfig, tables["release"], f"{TOML_NAME} [release]")
    router = resolve(RouterConfig, given, _ROUTER_RULES)
    app = resolve(AppConfig, app_given, APP_RULES)
    deploy = resolve(DeployConfig, deploy_given)
    release = resolve(ReleaseConfig, release_given, RELEASE_RULES)
    faults += [*unknown, *router.faults, *app.faults, *deploy.faults, *release.faults]
    app_dir, fault = dir_in_effect(app.values["dir"], release.values["dir"])
    sources = dict(router.sources)
    for table, resolved in (("app", app), ("deploy", deploy), ("release", release)):
        sources |= {f"{table}.{name}": source for name, source in resolved.sources.items()}
    shared = _shared_ports(router.values["main_port"], app.values, sources)
    raise_faults([*faults, *fault, *shared, *_idioms(app.values, deploy.values)])
    app_config = AppConfig(**{**app.values, "dir": app_dir})
    deploy_config, release_config = DeployConfig(**deploy.values), ReleaseConfig(**release.values)
    return Loaded(RouterConfig(**router.values), app_config, sources, deploy_config, release_config)


def _whole(table: Mapping[str, object]) -> dict[str, object]:
    """The table with each command as one text, and one command or path where a list of them may be.

    A text would be split at its spaces there.
    """
    known = {
        "command": _as_text,
        **dict.fromkeys(_COMMANDS, lambda value: [*map(_as_text, _as_list(value))]),
        "env_file": _as_list,
    }
    return {name: known[name](value) if name in known else value for name, value in table.items()}


_COMMANDS: Final = ("before", "smoke", "post", "rollback")
"""The settings in `[deploy]` that are lists of commands."""


def _as_list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _as_text(command: object) -> object:
    """A command that is given as the list of its words, as a text that is split into just these; else as it is."""
    is_words = isinstance(command, list) and all(isinstance(word, str) for word in command)
    return shlex.join(command) if isinstance(command, list) and is_words else command


def _idioms(app: Mapping[str, object], deploy: Mapping[str, object]) -> list[str]:
    """A fault for each command that wants a shell and has none."""
    commands = [] if app["shell"] else [("[app] command", str(app["command"]))]
    if not deploy["shell"]:
        commands += [(f"[deploy] {name}", command) for name in _COMMANDS for command in cast(list[str], deploy[name])]
    found = ((name, idiom_in(command)) for name, command in commands)
    return [f"{name} has {idiom}" for name, idiom in found if idiom]


def _shared_ports(main_port: int, app: Mapping[str, object], sources: Mapping[str, str]) -> list[str]:
    """A fault for each version that was given the router's own port.

    The defaults give way to the state file's ports, which are checked when the router starts.
    """
    names = [name for name in ("blue_port", "green_port") if sources[f"app.{name}"] != "default"]
    return [
        f"main_port = {main_port}, [app] {name} = {main_port}: the router listens there"
        for name in names
        if app[name] == main_port
    ]


def _split(
    toml: Mapping[str, object],
) -> tuple[dict[str, object], dict[str, Mapping[str, object]], list[str]]:
    """Part the file into its top level, its tables by name, and faults for tables that nobody knows."""
    top: dict[str, object] = {}
    tables: dict[str, Mapping[str, object]] = {"router": {}, "app": {}, "deploy": {}, "release": {}}
    faults: list[str] = []
    for name, value in toml.items():
        if name in tables and isinstance(value, Mapping):
            tables[name] = value
        elif name in tables:
            faults.append(f"{name} = {value!r}: expected a table ({TOML_NAME})")
        elif isinstance(value, Mapping):
            faults.append(unknown_name(f"[{name}]", [f"[{known}]" for known in tables], TOML_NAME))
        else:
            top[name] = value
    return top, tables, faults
