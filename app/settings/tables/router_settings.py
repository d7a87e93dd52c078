"""The router's own settings, at the top level of the file or in `[router]`.

`RouterConfig` is read on the way of every request, so its settings are plain attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from app.settings import checks
from app.settings.declaration import Table
from app.settings.engine import Rule, enforce, group, setting
from app.settings.tables.hold_settings import HoldConfig
from app.settings.tables.log_settings import LOG_RULES, LogConfig

__all__ = ["RouterConfig"]

_DAY_S = 86_400.0

_PRIVATE_NETWORKS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)
"""Loopback (RFC 1122, RFC 4291), private (RFC 1918, RFC 4193) and link-local ranges (RFC 3927, RFC 4291)."""

_RULES = (
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
    *LOG_RULES,
)


@dataclass(frozen=True)
class RouterConfig:
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
        "text",
        "How the router's log is written; as json, a line about a request has its id, client, method, path, version and"
        " release.",
        rule="text, or json: one object a line",
        check=checks.is_log_format,
    )
    access_log: str = setting("", "The access log: a file, or `-` for standard output.", zero="no access log")

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
    lane: bool = setting(
        True, "Serve ordinary requests in the event loop; `false` sends all of them the long way, to find faults."
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

    hold: HoldConfig = group(HoldConfig)
    log: LogConfig = group(LogConfig)

    def __post_init__(self) -> None:
        enforce(self, _RULES)

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
    def limits_path(self) -> str:
        """The file that limits are counted in, beside that of the metrics."""
        return str(PurePosixPath(self.metrics_path).with_name("router_limits.mmap"))

    @property
    def pid_path(self) -> str:
        """The running router's pid file."""
        return self.beside_state("router.pid")

    def beside_state(self, name: str) -> str:
        """The path of a file in the state file's directory."""
        return str(PurePosixPath(self.state_file).parent / name)


TABLE: Final = Table(
    name="",
    settings=RouterConfig,
    title="The router",
    about="",
    rules=_RULES,
)
