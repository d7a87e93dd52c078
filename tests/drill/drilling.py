"""One incident from its beginning to its end: break, look everywhere, follow the printed advice, look again."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.situation import KINDS, Grade
from tests.drill.incidents import INCIDENTS, Incident
from tests.drill.pictures import Camera
from tests.drill.places import Places, advice_in, look, start_of, word_now
from tests.drill.scene import Done, Load, Scene
from tests.support.waiting import wait_until

__all__ = ["Record", "drill", "scene"]

MOST_STEPS = 3
MOST_LOOKS = 3
SEEN_DEADLINE_S = 15.0
FLOWS_DEADLINE_S = 75.0
"""What failed counts for a minute."""
PAGE_DEADLINE_S = 10.0
OF_A_PAGE_ALONE = "No word from the router"


@dataclass
class Record:
    """What an incident was like. `faults` is what did not go as it should, empty when all did."""

    name: str
    took_s: float = 0.0
    before: Places | None = None
    after: Places | None = None
    met: Done | None = None
    steps: list[str] = field(default_factory=list)
    failed: int = 0
    page: str = ""
    faults: list[str] = field(default_factory=list)


@contextmanager
def scene(settings: str = "") -> Iterator[Scene]:
    """A deployment in which all is well; it ends with the block, and leaves nothing."""
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        made = Scene(Path(folder))
        try:
            made.open(settings)
            yield made
        finally:
            made.close()


def drill(name: str, camera: Camera | None = None) -> Record:
    """Play one incident, with the page open in a browser where there is one."""
    record, began = Record(name), time.monotonic()
    with scene(INCIDENTS[name].settings) as made, Load(made.port) as load:
        try:
            _play(INCIDENTS[name], made, load, record, camera)
        except Exception as error:  # it is told with all the rest
            record.faults.append(f"{type(error).__name__}: {error}")
        record.failed = sum(asked.status != 200 for asked in load.asked)
    record.took_s = time.monotonic() - began
    return record


def _play(incident: Incident, scene: Scene, load: Load, record: Record, camera: Camera | None) -> None:
    if not load.flows():
        raise AssertionError("traffic does not flow before anything is broken")
    if camera is not None:
        camera.open(scene.port)
    log_from, history_from = scene.written()
    record.met = incident.breaks(scene)
    _wait(lambda: not incident.words or word_now(scene) in incident.words, SEEN_DEADLINE_S)
    places = record.before = _look_until(
        lambda: look(scene, log_from, history_from), lambda it: not _misses(incident, it, record.met)
    )
    record.faults += _misses(incident, places, record.met)
    if camera is not None:
        wanted = OF_A_PAGE_ALONE if places.word == "silent" else start_of(places.deploy_json)
        _wait(lambda: wanted in camera.said(), PAGE_DEADLINE_S)
        record.page = camera.said()
        record.faults += [] if wanted in record.page else [f"the page left open says: {record.page}"]
        camera.take(f"{record.name} 1 broken")
    _follow(incident, scene, load, record, places)
    if camera is not None:
        camera.take(f"{record.name} 2 mended")


def _misses(incident: Incident, places: Places, met: Done | None) -> list[str]:
    """What should be seen and is not."""
    said = places.deploy.said + (met.said if met is not None else "")
    wanted = {
        "what is printed": (incident.seen, said),
        "the advice": (incident.says, said),
        "the log": (incident.log, places.log),
        "the history": (incident.history, places.history),
    }
    if not incident.words:
        codes = {places.deploy.code, places.router.code}
        return [] if codes == {2} and incident.seen in said else [f"the commands end with {codes}: {said}"]
    wrong = [] if places.word in incident.words else [f"the situation is {places.word or 'not told'}"]
    return [
        *places.faults(),
        *wrong,
        *(f"{place} does not say {part!r}" for place, (part, text) in wanted.items() if part not in text),
    ]


def _follow(incident: Incident, scene: Scene, load: Load, record: Record, places: Places) -> None:
    """Type what is printed until nothing is advised any more, do by hand what no command can, and look again."""
    said = record.met if record.met is not None and record.met.code else places.deploy
    while (advice := advice_in(said.said)) and not (said is places.deploy and places.is_calm):
        if len(record.steps) == MOST_STEPS:
            break
        record.steps.append(advice[-1])
        record.faults += [] if _is_named(advice[-1], incident.does) else [f"the page does not name: {advice[-1]}"]
        said = scene.type(advice[-1])
        places = look(scene) if said.code else _calm(scene, load)
        if not said.code or not advice_in(said.said) or incident.by_hand is not None:
            said = places.deploy
    if incident.by_hand is not None:
        incident.by_hand(scene)
    if incident.again:
        again = scene.command(*incident.again.split())
        if again.code:
            record.faults.append(f"{again.command} ends with {again.code} again: {again.said}")
    places = record.after = _calm(scene, load)
    if not places.is_calm or not load.flows():
        record.faults += [f"{len(record.steps)} steps did not help: {places.deploy.said}", *places.faults()]


def _is_named(step: str, does: str) -> bool:
    """Whether what a row says to do names the command that was advised; one that only shows something need not be."""
    found = re.search(r"(?:blue_green_deploy|traffic_router) ([a-z-]+)", step)
    return found is None or found[1] in ("logs", "status") or f"{found[0]}" in does


def _calm(scene: Scene, load: Load) -> Places:
    """Everybody's word when all is well again, or when that takes too long."""
    _wait(lambda: KINDS[word_now(scene)].grade is Grade.OK and load.flows(), FLOWS_DEADLINE_S)
    return _look_until(lambda: look(scene), lambda it: it.is_calm)


def _wait(condition: Callable[[], bool], deadline_s: float) -> None:
    """Wait for so long at most; who looks then tells what is not so."""
    with suppress(AssertionError):
        wait_until(condition, "what the drill waits for", deadline_s)


def _look_until(look: Callable[[], Places], is_well: Callable[[Places], bool]) -> Places:
    """Look again when something moved while the places were asked one after the other."""
    for _ in range(MOST_LOOKS - 1):
        if is_well(found := look()):
            return found
    return look()
