"""One incident from its beginning to its end: break, look everywhere, follow the printed advice, look again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.situation import KINDS, Grade
from tests.drill.incidents import INCIDENTS, Incident
from tests.drill.places import Places, advice_in, look, word_now
from tests.drill.scene import Done, Load, Scene
from tests.support.waiting import wait_until

__all__ = ["Record", "drill", "scene"]

MOST_STEPS = 3
MOST_LOOKS = 3
SEEN_DEADLINE_S = 15.0
FLOWS_DEADLINE_S = 15.0

Pictures = Callable[[Scene, str], None]
"""Takes pictures of the page that has been open since before the incident; named by the incident and the moment."""


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
    faults: list[str] = field(default_factory=list)


@contextmanager
def scene() -> Iterator[Scene]:
    """A deployment in which all is well; it ends with the block, and leaves nothing but what it wrote."""
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        made = Scene(Path(folder))
        try:
            made.open()
            yield made
        finally:
            made.close()


def drill(name: str, pictures: Pictures = lambda _scene, _moment: None) -> Record:
    """Play one incident."""
    record, began = Record(name), time.monotonic()
    with scene() as made, Load(made.port) as load:
        try:
            _play(INCIDENTS[name], made, load, record, pictures)
        except Exception as error:  # it is told with all the rest
            record.faults.append(f"{type(error).__name__}: {error}")
        record.failed = sum(asked.status != 200 for asked in load.asked)
    record.took_s = time.monotonic() - began
    return record


def _play(incident: Incident, scene: Scene, load: Load, record: Record, pictures: Pictures) -> None:
    if not load.flows():
        raise AssertionError("traffic does not flow before anything is broken")
    pictures(scene, "")
    log_from, history_from = scene.written()
    record.met = incident.breaks(scene)
    _wait(lambda: word_now(scene) in incident.words, SEEN_DEADLINE_S)
    places = record.before = _look_until(
        lambda: look(scene, log_from, history_from), lambda it: not _misses(incident, it, record.met)
    )
    record.faults += _misses(incident, places, record.met)
    pictures(scene, f"{record.name}, broken")
    if incident.by_hand is not None:
        incident.by_hand(scene)
    _follow(incident, scene, load, record, places)
    pictures(scene, f"{record.name}, mended")


def _misses(incident: Incident, places: Places, met: Done | None) -> list[str]:
    """What should be seen and is not."""
    said = places.deploy.said + (met.said if met is not None else "")
    wanted = {
        "what is printed": (incident.seen, said),
        "the advice": (incident.says, said),
        "the log": (incident.log, places.log),
        "the history": (incident.history, places.history),
    }
    wrong = [] if places.word in incident.words else [f"the situation is {places.word or 'not told'}"]
    return [
        *places.faults(),
        *wrong,
        *(f"{place} does not say {part!r}" for place, (part, text) in wanted.items() if part not in text),
    ]


def _follow(incident: Incident, scene: Scene, load: Load, record: Record, places: Places) -> None:
    """Type what is printed, until traffic flows and everybody is calm."""
    said = record.met if record.met is not None and record.met.code else places.deploy
    while not (places.is_calm and load.flows() and not advice_in(said.said)):
        advice = advice_in(said.said)
        if not advice or len(record.steps) == MOST_STEPS:
            record.faults.append(f"{len(record.steps)} steps did not help; the last word was: {said.said}")
            break
        record.steps.append(advice[-1])
        said = scene.type(advice[-1])
        _wait(lambda: KINDS[word_now(scene)].grade is Grade.OK and load.flows(), FLOWS_DEADLINE_S)
        places = _look_until(lambda: look(scene), lambda it: it.is_calm)
        if not said.code or not advice_in(said.said):
            said = places.deploy
    record.after = places


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
