"""Starting again what was started before: from its record, or not at all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.plan import Plan
from app.deploy.processes.launch import launch_of
from app.deploy.release.env_files import read_env_files
from app.deploy.release.making import StartSpec, make, remake, settings_env
from app.deploy.release.missing_command import check_command_is_set
from app.deploy.release.places import digest_of, revision_of
from app.operator_errors import OperatorError, StateError
from app.state.model import VersionState
from app.state.release import Release
from app.withheld import OF_A_UNIT

__all__ = ["as_before", "check_repeatable", "for_checks", "known_as", "tell_of_shared_place"]


def as_before(
    deployment: Deployment,
    version: VersionState,
    *,
    is_way_back: bool = False,
    reconfigured: bool = False,
    takes_what_is_there: bool = False,
) -> Release:
    """What the version was started with last, to be started again; raises `StateError` when that cannot be.

    `reconfigured`: with the settings and the environment of now. `takes_what_is_there`: a release without a name is
    started with the code that lies in its directory now. `is_way_back`: nothing else than what it was will do.
    """
    if version.record is None:
        return _without_record(deployment, version, is_way_back=is_way_back)
    release = deployment.releases.read(version.record)
    if release.is_demo and not is_way_back and not StartSpec.of(version, deployment.app).is_demo:
        return make(deployment, version)  # whoever has configured an application is done with ours
    if missing := _missing(deployment, release, version):
        raise _refusal(version, release, missing)
    moved = _moved(deployment, release)
    if moved and (release.name or not takes_what_is_there):
        raise _refusal(version, release, moved)
    if moved:
        deployment.note(f"{moved}: {version.name} has no name for its release, and starts with what is there now")
    if reconfigured or moved:
        return remake(deployment, version, release, is_other_code=bool(moved))
    _tell_of_changes(deployment, version, release)
    return release


def _without_record(deployment: Deployment, version: VersionState, *, is_way_back: bool) -> Release:
    """For a version that an older program started, or nobody: what its options and the settings say."""
    if StartSpec.of(version, deployment.app).is_demo:
        check_command_is_set(deployment, version.dir)
    elif is_way_back:
        check_repeatable(version, deployment.app.dir, deployment.app.command)
        deployment.note(f"{version.name} has no record of what it was started with: it starts as the settings say now")
    return make(deployment, version)


def check_repeatable(version: VersionState, dir_: str, command: str, source: str = "it") -> None:
    """Refuse to start something else under an old name, where no record says what it was; `dir_` is the setting.

    Where a release has no directory or command of its own, the configured one has whatever was put there last.
    """
    if version.dir is None and version.command is None and "{release}" not in dir_ + command:
        name = f"release {version.release}" if version.release else "what ran then"
        raise StateError(
            f"{name} cannot be started again: {source} named no directory of its own, and the "
            f"configured one ({dir_}) holds what was put there last",
            f"{PROGRAM} deploy --release={version.release or 'NAME'} --dir=DIRECTORY",
        )


# --- whether it can be the same again ---------------------------------------------------------------------


def _missing(deployment: Deployment, release: Release, version: VersionState) -> str:
    """What is not there any more; "" when all of it is."""
    directory = Path(release.directory)
    if not directory.is_dir():
        return f"its directory {directory} is gone"
    try:
        launch_of(release, version, deployment.app.address)
    except OperatorError as error:
        return str(error)
    return ""


def _moved(deployment: Deployment, release: Release) -> str:
    """What shows that other code lies there now; "" when nothing does."""
    if release.is_demo:
        return ""
    directory = Path(release.directory)
    revision = revision_of(directory)
    if revision != release.revision:
        return f"{directory} is at revision {_short(revision)}, and was at {_short(release.revision)}"
    for path, digest in release.files.items():
        if digest_of(path) != digest:
            return f"{path} is not what it was"
    if program := _other_program(release):
        return program
    if revision is not None:
        return ""  # the very code, wherever else it is used
    if directory.stat().st_ino != release.inode:
        return f"{directory} was removed and made anew"
    for later in deployment.releases.all():
        if later.number > release.number and _is_other_code(later, release):
            return f"{directory} holds what was put there last{_for(later)}"
    return ""


def _other_program(release: Release) -> str:
    """Whether the program is another file by now, behind a link or earlier on the PATH."""
    found = os.path.realpath(release.place[1])
    return "" if found == release.program else f"{release.place[1]} is {found} now, and was {release.program}"


def _is_other_code(one: Release, another: Release) -> bool:
    """Whether one was put where the other was."""
    same = one.place == another.place and one.origin != another.origin
    return same and (one.name != another.name or one.is_deploy)


def _for(release: Release) -> str:
    return f", for release {release.name}" if release.name else ""


def _short(revision: str | None) -> str:
    return revision[:12] if revision else "none"


def _refusal(version: VersionState, release: Release, reason: str) -> StateError:
    what = f"release {release.name}" if release.name else f"what {version.name} was"
    return StateError(
        f"{what} cannot be started again: {reason}",
        f"{PROGRAM} deploy --release=NAME --dir=DIRECTORY   # what is there, under a name that is true",
    )


# --- what is said about it --------------------------------------------------------------------------------


def _tell_of_changes(deployment: Deployment, version: VersionState, release: Release) -> None:
    """Say which settings have changed since, for they are not taken up."""
    now = StartSpec.of(version, deployment.app)
    differs = {
        "[app] command": now.command != release.given_command,
        "[app] dir": now.dir != release.given_dir,
        "[app] env": settings_env(deployment.app, release.name) != release.env,
        "[app] env_file": _files_have_changed(deployment, version, release),
    }
    changed = [name for name, is_other in differs.items() if is_other]
    if changed and not release.is_demo:
        deployment.note(
            f"{version.name} starts as it was started before, though {' and '.join(changed)} changed since; "
            f"to take that up: {PROGRAM} restart {version.name} --reconfigure"
        )


def _files_have_changed(deployment: Deployment, version: VersionState, release: Release) -> bool:
    """Whether the files of variables say something else now; one that is gone does."""
    try:
        return read_env_files(deployment.app, version, release.inherited) != release.files_env
    except OperatorError:
        return True


def tell_of_shared_place(deployment: Deployment, plan: Plan) -> None:
    """Say at a deploy that the version which is left cannot be started again, once it is stopped."""
    release, outgoing = plan.release, plan.outgoing
    if release is None or outgoing is None or release.is_demo:
        return
    before = _record_of(deployment, deployment.store.read_or_new().version(outgoing))
    if before is None or not _is_other_code(release, before):
        return
    if release.revision is not None and release.revision == before.revision:
        return
    deployment.note(
        f"{plan.target} runs in {release.directory}, as {outgoing} does: once {outgoing} is stopped, it cannot be "
        f"started again as what it was. Give each release its own directory: {{release}} in [app] dir, or --dir",
        warns=True,
    )


def _record_of(deployment: Deployment, version: VersionState) -> Release | None:
    try:
        return deployment.releases.read(version.record) if version.record else None
    except StateError:
        return None


def known_as(deployment: Deployment, release: Release) -> Release:
    """The release under the id of the record that says the same: what its manager starts over and over has one.

    What systemd says to each process of its own (systemd.exec(5)) makes no other release, but the process is to get it.
    """
    for known in reversed(deployment.releases.all()):
        inherited = {**release.inherited, **{name: known.inherited.get(name, "") for name in OF_A_UNIT}}
        before = {**known.inherited, **{name: known.inherited.get(name, "") for name in OF_A_UNIT}}
        facts = {"id": known.id, "made_at": known.made_at, "made_by": known.made_by, "origin": known.origin}
        if replace(release, inherited=inherited, **facts) == replace(known, inherited=before):  # type: ignore[arg-type]  # by field
            return replace(release, id=known.id, origin=known.origin)
    return release


def for_checks(deployment: Deployment, version: VersionState) -> Release:
    """In whose directory and environment the smoke and post commands of a version run."""
    return deployment.releases.read(version.record) if version.record else make(deployment, version)
