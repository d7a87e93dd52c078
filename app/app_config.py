"""How a version of the application behind the router is started, checked and stopped, and where its releases lie: the
tables `[app]`, `[deploy]` and `[release]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from app import config_checks as checks
from app.settings import Rule, enforce, setting
from app.withheld import CLEAN

__all__ = ["APP_RULES", "RELEASE_RULES", "AppConfig", "DeployConfig", "ReleaseConfig", "dir_in_effect"]

APP_RULES = (
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
)


RELEASE_RULES = (
    Rule(
        ("dir", "current"),
        lambda dir_, current: not dir_ or not current or dir_.rpartition("/")[0] != current.rpartition("/")[0],
        "the link would lie among the releases and be taken for one",
    ),
    Rule(("dir", "prune"), lambda dir_, prune: bool(dir_) or not prune, "without dir nobody knows what a release is"),
)


@dataclass(frozen=True)
class AppConfig:
    """Everything that can be set about the application; raises `ConfigError` with every fault when made."""

    command: str = setting(
        "",
        "Command that runs a version, a text or the list of its words, without a shell; `{port}`, `{address}`,"
        " `{version}`, `{release}` are filled in.",
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
    dir: str = setting(
        ".",
        "Directory in which the command runs; inside the release's directory where `[release] dir` is set.",
        rule="a directory's path",
        check=bool,
    )
    env: dict[str, str] = setting(
        {},
        "Variables added to a version's environment; `{port}`, `{address}`, `{version}`, `{release}` are filled in.",
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
        enforce(self, APP_RULES)

    @property
    def ports(self) -> dict[str, int]:
        """Where each version listens unless the state file says otherwise."""
        return {"blue": self.blue_port, "green": self.green_port}

    def expects(self, status: int) -> bool:
        """Whether a health check that is answered with this status is a success."""
        parts = self.health_statuses.replace(",", " ").split()
        return any(int(part[:3]) <= status <= int(part[-3:]) for part in parts)


_COMMANDS = "a list of commands with their quotes closed, each a text or a list of words"
_DAY_S = 86_400.0


@dataclass(frozen=True)
class DeployConfig:
    """What a switch has to stand besides the health gate; raises `ConfigError` with every fault when made.

    Each command runs without a shell in the version's directory and environment; `{port}`, `{address}`,
    `{version}` and `{release}` are filled in. An exit status other than 0 is a failure.
    """

    before: tuple[str, ...] = setting(
        (),
        "Commands that prepare the release of a `deploy` (migrations, static files) before its version is started or"
        " the standby stopped; one that fails stops the deploy.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    smoke: tuple[str, ...] = setting(
        (),
        "Commands that try a version before `switch` and `deploy` give it traffic; one that fails stops them.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    post: tuple[str, ...] = setting(
        (),
        "Commands that run after the switch; one that fails takes it back.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    rollback: tuple[str, ...] = setting(
        (),
        "Commands that run in the release which is left, before a `rollback`, or a deploy that goes back by itself,"
        " moves the traffic; `$BG_ROLLBACK_FROM` and `$BG_ROLLBACK_TO` name the releases.",
        rule=_COMMANDS,
        check=checks.is_program,
    )
    rollback_needs_success: bool = setting(
        False,
        "Refuse a `rollback` when a rollback command fails, instead of a warning; a deploy goes back in any case.",
    )
    shell: bool = setting(False, "Give the commands of this table to `/bin/sh -c`.")
    command_timeout: float = setting(
        60.0, "A smoke, post or rollback command must end within this time.", unit="seconds", low=0.1, high=3600
    )
    before_timeout: float = setting(
        600.0, "A before command must end within this time.", unit="seconds", low=0.1, high=_DAY_S
    )
    watch_max_errors: float = setting(
        0.0,
        "Under `--watch`, go back without proof when the share of failed requests has grown by more than this many"
        ' percentage points, as in `"5%"`.',
        unit="percent",
        low=0,
        high=100,
        zero="only what is proven",
    )

    def __post_init__(self) -> None:
        enforce(self, ())


@dataclass(frozen=True)
class ReleaseConfig:
    """Where the releases lie, if each has a directory of its own; raises `ConfigError` with every fault when made."""

    dir: str = setting(
        "",
        "Directory of a release: `start`, `run` and `deploy` look there for the one that `--release` names.",
        zero="`[app] dir` alone",
        rule="a path whose last part has {release} in it, and no other placeholder",
        check=checks.is_release_dir,
    )
    current: str = setting(
        "",
        "Link that leads to the active version's release; it is moved right after each switch, and back by a rollback.",
        zero="no link",
        rule="a link's path",
        check=checks.is_link,
    )
    keep: int = setting(5, "Releases that `releases prune` keeps, those in use among them.", low=1, high=1000)
    prune: bool = setting(False, "Prune after each `deploy` that did well.")

    def __post_init__(self) -> None:
        enforce(self, RELEASE_RULES)


def dir_in_effect(app_dir: str, release_dir: str) -> tuple[str, list[str]]:
    """Where the command runs by `[app] dir` and `[release] dir` together, and what is wrong with that."""
    if not release_dir:
        return app_dir, []
    inside = PurePosixPath(app_dir)
    if inside.is_absolute() or ".." in inside.parts:
        return app_dir, [f"[app] dir = {app_dir!r}: expected a place inside the release, as [release] dir is set"]
    return str(release_dir / inside), []
