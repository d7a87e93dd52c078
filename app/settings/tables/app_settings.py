"""How a version of the application behind the router is started, checked and stopped: the table `[app]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.address import MAX_BACKENDS
from app.settings import checks
from app.settings.commands import as_list, as_text, idioms, takes_socket
from app.settings.declaration import AllTables, Table
from app.settings.engine import Rule, enforce, setting
from app.withheld import CLEAN

__all__ = ["AppConfig"]

_RULES = (
    Rule(
        ("health_timeout", "start_timeout"),
        lambda probe, start: probe <= start,
        "one health check may not take longer than the whole start",
    ),
    Rule(
        ("clean_env", "pass_env"),
        lambda is_clean, names: is_clean or not names,
        "without clean_env, everything is passed on",
    ),
    Rule(("blue_port", "green_port"), lambda blue, green: blue != green, "two versions cannot share a port"),
    Rule(
        ("blue_port", "green_port", "instances", "instance_port_step", "bind"),
        lambda blue, green, count, step, bind: (
            bind == "unix" or blue == green or not set(_ports(blue, count, step)) & set(_ports(green, count, step))
        ),
        "two processes cannot share a port",
    ),
    Rule(
        ("blue_port", "green_port", "instances", "instance_port_step", "bind"),
        lambda blue, green, count, step, bind: bind == "unix" or _ports(max(blue, green), count, step)[-1] < 65536,
        "the last port is above 65535",
    ),
)


def _ports(first: int, count: int, step: int) -> range:
    """The ports of a version's processes."""
    return range(first, first + count * step, step)


@dataclass(frozen=True)
class AppConfig:
    """Everything that can be set about the application; raises `ConfigError` with every fault when made."""

    command: str = setting(
        "",
        "Command that runs a version, a text or the list of its words, without a shell; `{port}`, `{address}`,"
        " `{version}`, `{release}`, `{instance}` and `{socket}` are filled in.",
        zero="the bundled demo application, where nothing else ever ran",
        rule="a command with its quotes closed",
        check=checks.is_command,
    )
    shell: bool = setting(False, "Give `command` to `/bin/sh -c`; the last program takes the shell's place.")
    address: str = setting(
        "127.0.0.1",
        "Address on which the command makes a version listen; `::1` where it listens on `localhost` as Node.js does.",
        rule="an address of this machine's loopback: ::1, 127.0.0.1 or another one that begins with 127",
        check=checks.is_loopback,
    )
    blue_port: int = setting(5005, "Where blue listens, unless the state file names another port.", low=1, high=65535)
    green_port: int = setting(5006, "Where green listens, likewise.", low=1, high=65535)
    instances: int = setting(
        1,
        f"Processes that a version is started with, up to {MAX_BACKENDS}; each request goes to one of them.",
        low=1,
        high=MAX_BACKENDS,
    )
    instance_port_step: int = setting(
        10,
        "The second process of a version listens so far above the version's port, the third twice as far.",
        low=1,
        high=10_000,
    )
    bind: str = setting(
        "tcp",
        "What the processes of a version listen on: its port and those above it (tcp), or a socket each (unix) in the"
        " folder `run` beside the state file, `{socket}` of the command.",
        rule="one of tcp, unix",
        check=lambda text: text in ("tcp", "unix"),
    )
    dir: str = setting(
        ".",
        "Directory in which the command runs; inside the release's directory where `[release] dir` is set.",
        rule="a directory's path",
        check=bool,
    )
    env: dict[str, str] = setting(
        {},
        "Variables added to a version's environment; what is filled into `command` is filled in here.",
        rule="a table of NAME = text",
        check=checks.is_variable,
        secret=True,
    )
    env_file: tuple[str, ...] = setting(
        (),
        "Files of variables added to a version's environment, one path or a list; `{version}` and `{release}` are"
        " filled in. A later file wins over an earlier one, and `env` over all of them.",
        zero="none",
        rule="a path or a list of paths",
        check=checks.is_file,
    )
    env_file_interpolate: bool = setting(
        False,
        "Let `${NAME}` in a file stand for a variable before it or one of the environment, as python-dotenv does.",
    )
    env_file_readers: tuple[str, ...] = setting(
        ("docker", "honcho", "node", "shell", "systemd"),
        "Programs that read the same files: a start names the variables whose lines one of them takes otherwise.",
        zero="none",
        rule="a list of docker, honcho, node, shell and systemd",
        check=checks.is_env_reader,
    )
    clean_env: bool = setting(
        False,
        f"Of the environment in which a command is typed, pass on only {', '.join(f'`{name}`' for name in CLEAN)}"
        " and `pass_env`.",
    )
    pass_env: tuple[str, ...] = setting(
        (),
        "Further variables that `clean_env` passes on; a `*` at the end makes a prefix of it.",
        zero="none",
        rule="a list of names of variables, none of which belongs to a job, a hook or a login",
        check=checks.is_passable,
    )
    health_path: str = setting("/health", "Path that is asked.", rule="a path that begins with /", check=checks.is_path)
    health_host: str = setting(
        "",
        "`Host` of a health check.",
        zero="address and port",
        rule="a host, with or without a port",
        check=checks.is_host_field,
    )
    health_statuses: str = setting(
        "200-399",
        "Statuses that count as healthy.",
        rule="statuses such as 200-299, 401",
        check=checks.is_statuses,
    )
    health_timeout: float = setting(5.0, "Wait for one health check.", unit="seconds", low=0.01, high=300)
    healthy_after: int = setting(2, "Healthy answers in a row that make a version healthy.", low=1, high=100)
    start_timeout: float = setting(
        30.0,
        "After its start, a version must become healthy within this time.",
        unit="seconds",
        low=0.1,
        high=3600,
    )
    stop_timeout: float = setting(
        10.0,
        "Wait from `stop_signal` to SIGKILL; no shorter than the application's own graceful timeout.",
        unit="seconds",
        low=0,
        high=3600,
    )
    stop_signal: str = setting(
        "TERM",
        "Signal on which the application finishes its requests and ends; a version keeps the one it was started with.",
        rule=f"one of {', '.join(checks.STOP_SIGNALS)}",
        check=checks.is_stop_signal,
    )
    restart: str = setting(
        "no",
        "Start a version again that has come up and then failed: ended with another exit status than 0, or by a signal"
        " other than HUP, INT, TERM and PIPE. Holds for versions that are started from then on, and not for `run`.",
        rule="one of no, on-failure",
        check=lambda text: text in ("no", "on-failure"),
    )
    restart_delay: float = setting(
        1.0,
        "The first restart is at once, the second after this time, each further one after twice as long, a minute at"
        " most.",
        unit="seconds",
        low=0,
        high=60,
    )
    restart_limit: int = setting(
        10,
        "Restarts in a row, after which a version stays down; one that runs for a minute begins a new row.",
        low=1,
        high=1000,
    )

    def __post_init__(self) -> None:
        enforce(self, _RULES)

    @property
    def ports(self) -> dict[str, int]:
        """Where each version listens unless the state file says otherwise."""
        return {"blue": self.blue_port, "green": self.green_port}

    def expects(self, status: int) -> bool:
        """Whether a health check that is answered with this status is a success."""
        parts = self.health_statuses.replace(",", " ").split()
        return any(int(part[:3]) <= status <= int(part[-3:]) for part in parts)


def _prepare(given: Mapping[str, object]) -> Mapping[str, object]:
    how = {"command": as_text, "env_file": as_list}
    return {name: how[name](value) if name in how else value for name, value in given.items()}


def _settle(found: AllTables) -> list[str]:
    own, sources, main_port = found.values["app"], found.sources["app"], found.values[""]["main_port"]
    # The defaults give way to the state file's ports, which are checked when the router starts.
    taken = [
        f"main_port = {main_port}, [app] {name} = {main_port}: the router listens there"
        for name in ("blue_port", "green_port")
        if sources[name] != "default" and own[name] == main_port
    ]
    count, step = own["instances"], own["instance_port_step"]
    if own["bind"] == "tcp":
        taken += [
            f"main_port = {main_port}, [app] {name} = {own[name]}, instances = {count}, instance_port_step = {step}:"
            " a process would listen where the router does"
            for name in ("blue_port", "green_port")
            if main_port in _ports(own[name], count, step)[1:]
        ]
    elif own["command"] and not takes_socket([own["command"], *own["env"].values()]):
        taken.append(
            'bind = "unix": neither [app] command nor env has {socket} or $BG_SOCKET, so nothing listens there'
        )
    return [*taken, *idioms({"[app] command": [own["command"]]}, is_shell=own["shell"])]


TABLE: Final = Table(
    name="app",
    settings=AppConfig,
    title="The application",
    about="how a version is started, checked and stopped.",
    rules=_RULES,
    prepare=_prepare,
    settle=_settle,
)
