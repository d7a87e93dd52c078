"""Commands before a start and before a way back; commands as lists of words and through a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from app.deploy.deployer import Overrides
from app.deploy.events import Noted, Promoted, Ran
from app.operator_errors import OperatorError, StateError, UnhealthyVersion, UsageError
from app.settings.tables.deploy_settings import DeployConfig
from tests.deploy.rehearsal import COMMAND, TINY_APP, Rehearsal

Deployments = Callable[..., Rehearsal]


def configure(rehearsal: Rehearsal, **settings: object) -> None:
    rehearsal.deploy_config = DeployConfig(**settings)  # type: ignore[arg-type]  # tests give fields by name


# --- before -----------------------------------------------------------------------------------------------


def test_before_commands_run_for_the_new_release_while_the_standby_still_runs(both: Rehearsal) -> None:
    pid = both.version("green").pid
    configure(both, before=(f"sh -c 'pwd > migrated; echo $BG_RELEASE {{release}} >> migrated; kill -0 {pid}'",))
    both.deployer().deploy(Overrides(release="r3"))
    assert (both.home / "green" / "migrated").read_text() == f"{both.home}/green\nr3 r3\n"
    assert both.version("green").pid != pid


@pytest.mark.parametrize(("command", "failure"), [("false", "exit status 1"), ("sleep 60", "did not end within 0.2 s")])
def test_a_failing_before_command_leaves_everything_as_it_was(both: Rehearsal, command: str, failure: str) -> None:
    configure(both, before=(command, "touch never"), before_timeout=0.2)
    before = both.state
    with pytest.raises(
        OperatorError, match=f"a before command failed: `{command}`: {failure}; nothing was started"
    ) as it:
        both.deployer().deploy(Overrides(release="r3"))
    assert it.value.exit_code == 1
    assert both.state.versions == before.versions
    assert not (both.home / "green" / "never").exists()
    assert both.outcomes()[-1] == ("deploy", "failed")
    both.deployer().switch("green")
    assert both.version("green").release == "r2"


def test_only_a_deploy_runs_before_commands(both: Rehearsal) -> None:
    configure(both, before=("false",))
    both.deployer().restart("green")
    both.deployer().switch("green")
    both.deployer().rollback()
    assert both.seen(Ran) == []


@pytest.mark.parametrize("name", ["before", "rollback"])
def test_a_command_that_is_not_there_is_found_by_the_deploy(both: Rehearsal, name: str) -> None:
    configure(both, **{name: ("no-such-program",)})
    with pytest.raises(OperatorError, match="no program 'no-such-program'") as caught:
        both.deployer().deploy(Overrides(release="r3"))
    assert (caught.value.exit_code, f"[deploy] {name}" in caught.value.hint) == (2, True)


# --- rollback ---------------------------------------------------------------------------------------------


def test_rollback_commands_run_in_the_release_that_is_left_before_the_traffic_moves(both: Rehearsal) -> None:
    both.deployer().switch("green")
    told = "$BG_ROLLBACK_FROM $BG_ROLLBACK_TO $BG_RELEASE"
    configure(both, rollback=(f"sh -c 'echo {told} > told; grep -c \"active_version.: .green\" {both.store.path}'",))
    both.events.clear()
    both.deployer().rollback()
    assert (both.home / "green" / "told").read_text() == "r2 r1 r2\n"
    assert [type(event) for event in both.events if isinstance(event, Ran | Promoted)] == [Ran, Promoted]
    assert both.seen(Ran)[0].output == ("1",)
    assert both.state.active_version == "blue"


def test_a_failing_rollback_command_does_not_keep_the_traffic_on_what_is_bad(both: Rehearsal) -> None:
    both.deployer().switch("green")
    configure(both, rollback=("false", "touch never"))
    both.deployer().rollback()
    assert both.state.active_version == "blue"
    assert any(
        event.warns and "`false`: exit status 1; going back all the same" in event.text for event in both.seen(Noted)
    )
    assert not (both.home / "green" / "never").exists()


def test_a_rollback_command_can_be_made_to_count(both: Rehearsal) -> None:
    both.deployer().switch("green")
    both.deployer().stop("blue")
    configure(both, rollback=("false",), rollback_needs_success=True)
    with pytest.raises(OperatorError, match="a rollback command failed: .*; traffic is where it was"):
        both.deployer().rollback()
    assert (both.state.active_version, both.version("blue").status) == ("green", "stopped")


@pytest.mark.parametrize("missing", ["program", "directory", "record"])
def test_a_rollback_command_that_cannot_run_does_not_hinder_either(both: Rehearsal, missing: str) -> None:
    both.deployer().switch("green")
    configure(both, rollback=("no-such-program" if missing == "program" else "true",))
    if missing == "directory":
        (both.home / "green").rename(both.home / "pruned")
    if missing == "record":
        (both.store.folder / "releases" / f"{both.version('green').record}.json").unlink()
    both.deployer().rollback()
    assert both.state.active_version == "blue"
    assert any("going back all the same" in event.text for event in both.seen(Noted))


def test_a_deploy_that_goes_back_by_itself_runs_them_too_and_goes_back_in_any_case(both: Rehearsal) -> None:
    code = "sh -c 'echo $BG_ROLLBACK_FROM $BG_ROLLBACK_TO > told; exit 1'"
    configure(both, post=("false",), rollback=(code,), rollback_needs_success=True)
    with pytest.raises(UnhealthyVersion):
        both.deployer().deploy(Overrides(release="r3"))
    assert (both.home / "green" / "told").read_text() == "r3 r1\n"
    assert both.state.active_version == "blue"


def test_going_back_further_runs_them_as_well(both: Rehearsal) -> None:
    both.deployer().switch("green")
    configure(both, rollback=("sh -c 'echo $BG_ROLLBACK_FROM $BG_ROLLBACK_TO > told'",))
    both.deployer().rollback(to=1)
    assert (both.home / "green" / "told").read_text() == "r2 r1\n"


# --- shell ------------------------------------------------------------------------------------------------


def test_a_command_through_a_shell_is_the_versions_first_process(deployments: Deployments) -> None:
    rehearsal = deployments(shell=True, command=f"cd . && MARK=$BG_RELEASE {COMMAND} > /dev/null")
    (rehearsal.home / "env").touch()
    rehearsal.deployer().start("blue", Overrides(release="r1"))
    assert json.loads((rehearsal.home / "env").read_text())["MARK"] == "r1"
    pid = rehearsal.version("blue").pid
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[3] == str(TINY_APP).encode()
    rehearsal.deployer().stop("blue", force=True)
    assert rehearsal.version("blue").exit_status == 0


def test_a_shell_starts_the_code_of_the_release_where_a_link_has_moved(deployments: Deployments) -> None:
    """As without one: the links in a command are followed once."""
    rehearsal = deployments(shell=True)
    for name in ("r1", "r2"):
        (rehearsal.home / name).mkdir()
        (rehearsal.home / name / "serve").write_text(f"cd {rehearsal.home}; exec {COMMAND.replace('{port}', '$1')}\n")
    link = rehearsal.home / "current"
    link.symlink_to("r1")
    command = f"test -d {link}/ && sh {shlex.quote(str(link))}/serve {{port}}"
    rehearsal.deployer().start("blue", Overrides(release="r1", command=command))
    record = rehearsal.deployment().releases.read(rehearsal.version("blue").record or "")
    assert record.command[-1] == f"test -d {rehearsal.home}/r1 && exec sh {rehearsal.home}/r1/serve {{port}}"
    link.unlink()
    link.symlink_to("r2")
    rehearsal.deployer().restart("blue")
    assert rehearsal.version("blue").status == "running"


def test_the_name_of_a_release_is_never_a_text_for_the_shell(deployments: Deployments) -> None:
    rehearsal = deployments(shell=True, command=f"{COMMAND} {{release}}")
    with pytest.raises(UsageError, match="the release 'r1; touch never' cannot be filled into a command for a shell"):
        rehearsal.deployer().start("blue", Overrides(release="r1; touch never"))
    configure(rehearsal, shell=True, smoke=("echo '{release}'",))
    rehearsal.app = deployments().app
    with pytest.raises(UsageError, match="cannot be filled in"):
        rehearsal.deployer().deploy(Overrides(release="'; touch never; '"))
    assert list(rehearsal.home.rglob("never")) == []


def test_the_commands_of_a_deploy_can_have_a_shell(both: Rehearsal) -> None:
    configure(both, shell=True, smoke=("cd .. && echo $BG_RELEASE > smoked; test {port} = $PORT",))
    both.deployer().deploy(Overrides(release="r3"))
    assert (both.home / "smoked").read_text() == "r3\n"


def test_an_option_that_wants_a_shell_is_refused_as_a_setting_is(rehearsal: Rehearsal) -> None:
    with pytest.raises(UsageError, match=r"--command has \$PORT, which nobody fills in: write \{port\}"):
        rehearsal.deployer().start("blue", Overrides(command="serve $PORT"))
    with pytest.raises(UsageError, match=r"a pipe .*set shell = true in \[app\]"):
        rehearsal.deployer().start("blue", Overrides(command="serve | tee"))
    with pytest.raises(StateError):
        rehearsal.deployment().releases.read("1-000000")
