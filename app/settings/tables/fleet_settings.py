"""The fleet that this machine belongs to, and the etcd in which that agrees: the table `[fleet]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.settings import checks
from app.settings.declaration import Table
from app.settings.engine import Rule, enforce, setting

__all__ = ["ISOLATED_S", "FleetConfig"]

ISOLATED_S: Final = 10.0
"""So long without a word from etcd, a node is isolated: less than its lease lasts, more than one bad answer takes."""


def _have_tls(endpoints: tuple[str, ...]) -> bool:
    return bool(endpoints) and all(it.startswith("https:") for it in endpoints)


_RULES = (
    Rule(("name", "endpoints"), lambda name, endpoints: bool(name) == bool(endpoints), "expected both"),
    Rule(("user", "password_file"), lambda user, file: bool(user) == bool(file), "expected both"),
    Rule(("cert", "key"), lambda cert, key: bool(cert) == bool(key), "expected both"),
    Rule(
        ("endpoints", "ca", "cert"),
        lambda endpoints, ca, cert: not (ca or cert) or _have_tls(endpoints),
        "certificates are for endpoints with https",
    ),
    Rule(
        ("fence",),
        lambda fence: fence == 0 or fence > ISOLATED_S,
        f"expected more than {ISOLATED_S:g} seconds, after which a node is isolated, or 0",
    ),
)


@dataclass(frozen=True)
class FleetConfig:
    """The fleet, where there is one; raises `ConfigError` with every fault when made."""

    name: str = setting(
        "",
        "What the fleet is called: all machines that are to run the same release.",
        zero="no fleet",
        rule="up to 40 letters, digits, - and _",
        check=checks.is_label,
    )
    node: str = setting(
        "",
        "What this machine is called in it; no other may have the same.",
        zero="its host name",
        rule="up to 100 letters, digits, ., - and _",
        check=checks.is_node,
    )
    endpoints: tuple[str, ...] = setting(
        (),
        "etcd's members, asked in turn.",
        zero="no fleet",
        rule='a list of addresses such as "https://10.0.0.1:2379"',
        check=checks.is_endpoint,
    )
    user: str = setting("", "The user of etcd; it needs no more than to read and write below `prefix`/`name`/.")
    password_file: str = setting(
        "",
        "File with its password, read at each login.",
        rule="a file's path",
        check=lambda it: not it or checks.is_file(it),
    )
    ca: str = setting(
        "",
        "Certificate of the authority that has signed etcd's, in PEM.",
        zero="those that this machine trusts",
        rule="a file's path",
        check=lambda it: not it or checks.is_file(it),
    )
    cert: str = setting(
        "",
        "This machine's own certificate, where etcd wants one.",
        zero="none",
        rule="a file's path",
        check=lambda it: not it or checks.is_file(it),
    )
    key: str = setting(
        "", "Its key, without a passphrase.", rule="a file's path", check=lambda it: not it or checks.is_file(it)
    )
    prefix: str = setting(
        "/traffic_router",
        "Where fleets stand among etcd's keys; this one at `prefix`/`name`/.",
        rule="a path that begins with / and does not end so",
        check=checks.is_key_prefix,
    )
    min_nodes: int = setting(
        0,
        "A fleet's deploy begins only with as many live nodes.",
        zero="all that are registered",
        high=1000,
    )
    strict: bool = setting(
        False,
        "`/__router_health` says 503 while this machine is behind: it does not run the release that the fleet has"
        " committed.",
    )
    fence: float = setting(
        0.0,
        "`/__router_health` says 503 after so long without a word from etcd, so that a balancer takes the machine out."
        " Traffic that still comes is served in any case.",
        unit="seconds",
        zero="never",
        high=86_400,
    )
    allow_dir: tuple[str, ...] = setting(
        (),
        "Directories in which a release may lie that the fleet wants here, and that `[release] dir` does not lead to.",
        zero="none: `[release] dir`, or `[app] dir`, says where",
        rule="a list of absolute paths",
        check=lambda it: it.startswith("/") and ".." not in it.split("/") and checks.is_file(it),
    )
    allow_command: bool = setting(
        False,
        "Whether the fleet may say what command runs here. Whoever can write to etcd could then run anything.",
    )

    def __post_init__(self) -> None:
        enforce(self, _RULES)

    @property
    def is_on(self) -> bool:
        """Whether this machine belongs to a fleet."""
        return bool(self.name)

    @property
    def root(self) -> str:
        """What every key of this fleet begins with."""
        return f"{self.prefix}/{self.name}/"


TABLE: Final = Table(
    name="fleet",
    settings=FleetConfig,
    title="Fleet",
    about="for several machines that run the same release: [a fleet](../how-to/run-a-fleet.md). The router never asks"
    " etcd; the agent and the `fleet` commands do.",
    rules=_RULES,
)
