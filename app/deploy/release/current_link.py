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

from app.deploy.phases import Operation, Phase, check_plan
from app.deploy.release.release_dirs import ReleaseDirs
from app.deploy.steps import Request, Steps
from app.errors import ConfigError, OperatorError, StateError
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


def look(steps: Steps, state: BlueGreenState) -> Link | None:
    """The link as it is now; None where none is configured, or there is neither a link nor a release for it."""
    if not steps.release.current:
        return None
    path = _place(steps)
    expected = destination(steps, state.active) if state.active else None
    leads_to = os.path.realpath(path) if os.path.islink(path) else None
    return Link(path, leads_to, expected) if leads_to or expected else None


def with_link(steps: Steps, decide: Callable[[BlueGreenState], Request | None]) -> Callable[..., Request | None]:
    """A command's decision, with the link put in order before it, and moved where another release gets the traffic.

    Raises `ConfigError` when a release is to be started and the link could not be moved then. Traffic that only goes
    to what is there, or back, does not wait for a link to be mended.
    """

    def decide_with_link(state: BlueGreenState) -> Request | None:
        settle(steps, state)
        request = decide(state)
        if request is None or (after := _before_it(request, state)) is None:
            return request
        if request.launches and request.operation is not Operation.ROLLBACK:
            with _told(steps, ConfigError, "; nothing was started"):
                os.unlink(_made_beside(_place(steps), "."))
        at = request.phases.index(after) + 1
        return request._replace(phases=check_plan((*request.phases[:at], Phase.LINKING, *request.phases[at:])))

    return decide_with_link


def _before_it(request: Request, state: BlueGreenState) -> Phase | None:
    """The phase after which the link is to be moved; None where it stays."""
    if Phase.PROMOTING in request.phases:
        return Phase.PROMOTING
    # The active version was stopped, and is started with something else: by hand, or under systemd.
    return Phase.GATING if request.launches and request.target == state.active_version else None


def follow(steps: Steps, version: VersionState) -> bool:
    """Let the link lead to the release of the active version; gives whether it did not before.

    Raises `StateError` when it cannot be moved.
    """
    target = destination(steps, version)
    link = _place(steps)
    if target is None:
        steps.note(f"{link} was left as it is: {version.name} was not started from here", warns=True)
        return False
    if os.path.islink(link) and os.path.realpath(link) == target:
        return False
    with _told(steps, StateError, f"; {version.name} is active, and the next command tries again"):
        os.rename(_made_beside(link, target), link)
    return True


def settle(steps: Steps, state: BlueGreenState) -> None:
    """Put the link in order; that it cannot be moved now is no reason not to go on."""
    active = state.active
    if active is None or active.directory is None:
        return
    try:
        if follow(steps, active):
            steps.note(f"{_place(steps)} leads to the release of {active.name} again, which is active", warns=True)
    except OperatorError as error:
        steps.note(str(error), warns=True)


def destination(steps: Steps, version: VersionState) -> str | None:
    """Where the link leads while that version is active: to its whole release, of which it may run in a part."""
    if version.directory is None:
        return None
    return str(ReleaseDirs(steps.release.dir).around(version.directory) or version.directory)


def refuse_way_through(steps: Steps, texts: Iterable[str], directory: str) -> None:
    """Raise `ConfigError` for a path that leads through the link: at a start, it leads to the release before."""
    with suppress(OSError):
        link = os.lstat(_place(steps))
        for text in texts:
            path = Path(directory, text.rpartition("=")[2])
            if any(_is(place, link) for place in (path, *path.parents)):
                raise ConfigError(
                    f"{text} leads through {steps.release.current}, which is moved after the switch: until then it is "
                    "the release before",
                    "{release} in [release] dir, or --dir=DIRECTORY",
                )


def _is(path: Path, link: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), link)
    except OSError:
        return False


def _place(steps: Steps) -> str:
    return os.path.abspath(steps.release.current)


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
def _told(steps: Steps, kind: type[OperatorError], stands: str) -> Iterator[None]:
    """Say what is wrong with the link, in the words of an operator."""
    link = _place(steps)
    try:
        yield
    except OSError as error:
        hint = f"mv {link} {link}.old" if isinstance(error, FileExistsError) else f"ls -ld {os.path.dirname(link)}"
        raise kind(f"the link {link} cannot be moved: {error.strerror or error}{stands}", hint) from error
