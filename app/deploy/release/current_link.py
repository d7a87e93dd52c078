"""The link `[release] current`: it leads to the active version's release, for workers, cron jobs and people.

The state file says which version is active, and the link follows. It is moved right after the state was written, and
a command that finds it elsewhere, because another one was killed between the two or the state was edited by hand, moves
it before it does anything else. A failover leaves it where it is: the active version is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from app.deploy.deployment import Deployment
from app.deploy.phases import Operation, Phase, check_order
from app.deploy.plan import Plan
from app.deploy.release.release_dirs import ReleaseDirs
from app.operator_errors import ConfigError, OperatorError, StateError
from app.state.model import BlueGreenState, VersionState

__all__ = ["Link", "destination", "follow", "look", "refuse_way_through", "settle", "with_link"]


class Link(NamedTuple):
    """The link as it is, and where it is to lead: to the active version's release; None where that is not known."""

    path: str
    leads_to: str | None
    expected: str | None

    @property
    def in_order(self) -> bool:
        return self.leads_to is not None and self.expected in (None, self.leads_to)


def look(deployment: Deployment, state: BlueGreenState) -> Link | None:
    """The link as it is now; None where none is configured, or there is neither a link nor a release for it."""
    if not deployment.release.current:
        return None
    path = _place(deployment)
    expected = destination(deployment, state.active) if state.active else None
    leads_to = os.path.realpath(path) if os.path.islink(path) else None
    return Link(path, leads_to, expected) if leads_to or expected else None


def with_link(deployment: Deployment, decide: Callable[[BlueGreenState], Plan | None]) -> Callable[..., Plan | None]:
    """A command's decision, with the link put in order before it, and moved where another release gets the traffic.

    Raises `ConfigError` when a release is to be started and the link could not be moved then. Traffic that only goes
    to what is there, or back, does not wait for a link to be mended.
    """

    def decide_with_link(state: BlueGreenState) -> Plan | None:
        settle(deployment, state)
        plan = decide(state)
        if plan is None or (after := _before_it(plan, state)) is None:
            return plan
        if plan.launches and plan.operation is not Operation.ROLLBACK:
            with _told(deployment, ConfigError, "; nothing was started"):
                os.unlink(_made_beside(_place(deployment), "."))
        at = plan.phases.index(after) + 1
        return plan._replace(phases=check_order((*plan.phases[:at], Phase.LINKING, *plan.phases[at:])))

    return decide_with_link


def _before_it(plan: Plan, state: BlueGreenState) -> Phase | None:
    """The phase after which the link is to be moved; None where it stays."""
    if Phase.PROMOTING in plan.phases:
        return Phase.PROMOTING
    # The active version was stopped, and is started with something else: by hand, or under systemd.
    return Phase.GATING if plan.launches and plan.target == state.active_version else None


def follow(deployment: Deployment, version: VersionState) -> bool:
    """Let the link lead to the release of the active version; gives whether it did not before.

    Raises `StateError` when it cannot be moved.
    """
    target = destination(deployment, version)
    link = _place(deployment)
    if target is None:
        deployment.note(f"{link} was left as it is: {version.name} was not started from here", warns=True)
        return False
    if os.path.islink(link) and os.path.realpath(link) == target:
        return False
    with _told(deployment, StateError, f"; {version.name} is active, and the next command tries again"):
        os.rename(_made_beside(link, target), link)
    return True


def settle(deployment: Deployment, state: BlueGreenState) -> None:
    """Put the link in order; that it cannot be moved now is no reason not to go on."""
    active = state.active
    if active is None or active.directory is None:
        return
    try:
        if follow(deployment, active):
            deployment.note(
                f"{_place(deployment)} leads to the release of {active.name} again, which is active", warns=True
            )
    except OperatorError as error:
        deployment.note(str(error), warns=True)


def destination(deployment: Deployment, version: VersionState) -> str | None:
    """Where the link leads while that version is active: to its whole release, of which it may run in a part."""
    if version.directory is None:
        return None
    return str(ReleaseDirs(deployment.release.dir).around(version.directory) or version.directory)


def refuse_way_through(deployment: Deployment, texts: Iterable[str], directory: str) -> None:
    """Raise `ConfigError` for a path that leads through the link: at a start, it leads to the release before."""
    with suppress(OSError):
        link = os.lstat(_place(deployment))
        for text in texts:
            path = Path(directory, text.rpartition("=")[2])
            if any(_is(place, link) for place in (path, *path.parents)):
                raise ConfigError(
                    f"{text} leads through {deployment.release.current}, which is moved after the switch: until then "
                    "it is the release before",
                    "{release} in [release] dir, or --dir=DIRECTORY",
                )


def _is(path: Path, link: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), link)
    except OSError:
        return False


def _place(deployment: Deployment) -> str:
    return os.path.abspath(deployment.release.current)


def _made_beside(link: str, target: str) -> str:
    """A new link to be renamed over the old one, so that there is one at each moment."""
    if os.path.lexists(link) and not os.path.islink(link):
        raise FileExistsError("it is there, and is not a link")
    head, last = os.path.split(link)
    beside = os.path.join(head, f".{last}.next")
    with suppress(FileNotFoundError):
        os.unlink(beside)  # a killed command left it
    os.symlink(target, beside)
    return beside


@contextmanager
def _told(deployment: Deployment, kind: type[OperatorError], consequence: str) -> Iterator[None]:
    """Say what is wrong with the link, in the words of an operator."""
    link = _place(deployment)
    try:
        yield
    except OSError as error:
        hint = f"mv {link} {link}.old" if isinstance(error, FileExistsError) else f"ls -ld {os.path.dirname(link)}"
        raise kind(f"the link {link} cannot be moved: {error.strerror or error}{consequence}", hint) from error
