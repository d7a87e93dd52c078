"""Variables of the shell, hook or job that types a command, which no process that is left running gets; and why.

They belong to what types the command and ends before the process does. Some make it kill what it left running, others
lead a program to a directory, a socket or a token that is gone by then. In the settings' `env` and `env_file` all of
them may be set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

__all__ = ["CLEAN", "OF_A_UNIT", "REASONS", "in_background", "is_named", "is_withheld", "without_withheld"]

REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Jenkins ends every process that has its cookie or the build's id when the build is over.": (
        *("BUILD_ID", "BUILD_TAG", "JENKINS_NODE_COOKIE", "JENKINS_SERVER_COOKIE"),
        *("HUDSON_COOKIE", "HUDSON_SERVER_COOKIE"),
    ),
    "The runner of GitHub Actions ends every process that has its mark when the job is over; the rest are files and"
    " tokens of the job.": (
        *("RUNNER_TRACKING_ID", "GITHUB_ACTIONS", "GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE"),
        *("GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "GITHUB_RUN_*", "GITHUB_JOB", "ACTIONS_*"),
    ),
    "The agent of Azure Pipelines ends every process that has its mark when the job is over.": (
        *("VSTS_PROCESS_LOOKUP_ID", "TF_BUILD", "SYSTEM_ACCESSTOKEN"),
    ),
    "Other systems of this kind: programs take them as a sign that a job runs, and their tokens end with the job.": (
        *("CI", "CI_*", "GITLAB_CI", "BUILDKITE", "BUILDKITE_*", "CIRCLECI", "CIRCLE_*", "TEAMCITY_*", "TRAVIS"),
    ),
    "A git hook has them, and each git command below it then works on the repository of the hook.": (
        *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_*"),
        *("GIT_CONFIG_PARAMETERS", "GIT_CONFIG_VALUE_*", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE"),
        *("GIT_INDEX_FILE", "GIT_INTERNAL_*", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY"),
        *("GIT_PREFIX", "GIT_PUSH_OPTION_*", "GIT_QUARANTINE_PATH", "GIT_REFLOG_ACTION", "GIT_REPLACE_REF_BASE"),
        *("GIT_SHALLOW_FILE", "GIT_WORK_TREE"),
    ),
    "They are between make and what it runs: options, and descriptors that are closed by then.": (
        *("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMERR", "MAKE_TERMOUT", "MFLAGS"),
    ),
    "They lead to the login, its terminal and its keys, which last as long as the login.": (
        *("SSH_AGENT_PID", "SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_ORIGINAL_COMMAND", "SSH_TTY"),
        *("STY", "SUDO_*", "TMUX", "TMUX_PANE", "XDG_SESSION_ID"),
    ),
    "A shell keeps them about itself; the process runs in another directory.": ("OLDPWD", "PWD", "SHLVL", "_"),
}
"""By the reason; a `*` at the end stands for anything."""

CLEAN: Final = ("HOME", "LANG", "LANGUAGE", "LC_*", "LOGNAME", "PATH", "SHELL", "TZ", "USER")
"""What is left with `clean_env`: where programs are, who runs them, and which language and time they speak."""

OF_A_UNIT: Final = ("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")
"""What systemd says to the process of a unit (systemd.exec(5)): true for `run`, not for what is in the background."""

_WITHHELD: Final = tuple(name for names in REASONS.values() for name in names)


def is_named(variable: str, names: Collection[str]) -> bool:
    """Whether a variable is one of those named, where a `*` at the end stands for anything."""
    return any(variable.startswith(name[:-1]) if name.endswith("*") else variable == name for name in names)


def is_withheld(variable: str) -> bool:
    """Whether no process that is left running gets it from the environment of the command."""
    return is_named(variable, _WITHHELD)


def without_withheld(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command, as what is left running may have it."""
    return {name: value for name, value in environ.items() if not is_withheld(name)}


def in_background(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that goes on in the background, with its output in a file of its own."""
    return {name: value for name, value in environ.items() if name not in OF_A_UNIT}
