from __future__ import annotations

import subprocess

import pytest

from app.operator_errors import ConfigError
from app.settings.tables.app_settings import AppConfig
from app.withheld import is_withheld, without_withheld


@pytest.mark.parametrize(
    "name",
    [
        *("BUILD_ID", "JENKINS_NODE_COOKIE", "JENKINS_SERVER_COOKIE", "HUDSON_SERVER_COOKIE"),
        *("RUNNER_TRACKING_ID", "GITHUB_RUN_ID", "VSTS_PROCESS_LOOKUP_ID", "CI", "CI_JOB_TOKEN", "BUILDKITE_BUILD_ID"),
        *("GIT_DIR", "GIT_QUARANTINE_PATH", "MAKEFLAGS", "SSH_AUTH_SOCK", "SUDO_USER", "PWD", "_"),
    ],
)
def test_what_ends_before_the_version_does_is_withheld(name: str) -> None:
    assert is_withheld(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "BUILD_IDENTITY",
            "CIRCUS_URL",
            "CITY",
            "GITHUB_TOKEN",
            "GIT_AUTHOR_NAME",
            "GIT_SSH_COMMAND",
            "JOURNAL_STREAM",
        ),
        *("MAKE", "PATH", "PWD_HASH", "TERM", "TMPDIR", "DATABASE_URL", "__"),
    ],
)
def test_what_an_application_may_live_on_is_not(name: str) -> None:
    assert without_withheld({name: "x"}) == {name: "x"}


def test_all_that_git_itself_calls_bound_to_one_repository_is_withheld() -> None:
    done = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if not is_withheld(name)] == []


def test_a_withheld_variable_cannot_be_passed_on_by_name() -> None:
    with pytest.raises(ConfigError, match="pass_env.*none of which belongs to a job"):
        AppConfig(clean_env=True, pass_env=("SHOP_*", "RUNNER_TRACKING_ID"))
    with pytest.raises(ConfigError, match="clean_env = False, pass_env = .*everything is passed on"):
        AppConfig(pass_env=("SHOP",))
