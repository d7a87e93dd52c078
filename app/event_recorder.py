"""Notes how the deployment's situation changes, once for all workers: in the log, and in the file of events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from logging import ERROR, INFO, WARNING, getLogger

import gevent
from gevent.threadpool import ThreadPool

from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import ending_text
from app.event_file import Event, EventFile
from app.situation import KINDS, Grade, named
from app.state.instances import count_of
from app.state.model import VersionState
from app.survey import Look
from app.units import plain

__all__ = ["EventRecorder", "Recording"]

logger = getLogger(__name__)

WELL = "recovered"
"""What an end of trouble is called. Which calm situation it leads to, a drain or none, a command's history says."""

AT_MOST = 10
WINDOW_S = 60.0
"""A deployment that flaps has so many lines a minute, and then one that says how many more there were."""

_LEVELS = {Grade.OK: INFO, Grade.WARNS: WARNING, Grade.NO_TRAFFIC: ERROR}


class Recording:
    """Decides which changes are worth a line.

    `last` is the word of the event before, "" for none; `clock` is monotonic seconds.
    """

    def __init__(self, last: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._last = last or WELL
        self._clock = clock
        self._noted: deque[float] = deque(maxlen=AT_MOST)
        self._left_out = 0
        self._found: Mapping[str, Found] = {}

    def look(self, seen: Look, at: float) -> list[Event]:
        """What to note at wall time `at` of what is seen; nothing while all is as it was before."""
        events = self._of_processes(seen, at)
        situation = seen.situation
        word = situation.word if situation.kind.grade is not Grade.OK else WELL
        if word != self._last:
            self._last = word
            active = seen.state.active if seen.state is not None else None
            about = (None, None) if active is None else (active.name, active.release)
            events.append(Event(at, word, plain(situation.text), situation.kind.grade.value, *about))
        return [event for event in map(self._few, events) if event is not None]

    def _of_processes(self, seen: Look, at: float) -> list[Event]:
        """Processes that ended, or were started again, without a command."""
        before, self._found = self._found, seen.found
        versions = seen.state.versions.values() if seen.state is not None else ()
        events = []
        for version in versions:
            for key, who in _processes(version).items():
                was, now = before.get(key), seen.found.get(key)
                # One in the foreground ends before its `run`, which says so.
                if was is None or now is None or was.in_foreground:
                    continue
                told = _ending(version, who, was, now) or _restart(who, was, now)
                if told:
                    events.append(Event(at, *told, Grade.WARNS.value, version.name, version.release))
        return events

    def _few(self, event: Event) -> Event | None:
        """The event, unless there were many just now; then the next one says how many were left out."""
        now = self._clock()
        if len(self._noted) == AT_MOST and now - self._noted[0] < WINDOW_S:
            self._left_out += 1
            return None
        self._noted.append(now)
        more = f" ({self._left_out} more changes in the minute before)" if self._left_out else ""
        self._left_out = 0
        return event._replace(text=event.text + more)


def _processes(version: VersionState) -> dict[str, str]:
    """What a version's processes are called here, by their keys in `Look.found`; a drained one is a command's."""
    if count_of(version) == 1:
        return {version.name: named(version)}
    numbered = enumerate(version.instances, start=1)
    serving = [number for number, address in numbered if address not in version.drained]
    return {f"{version.name}.{number}": f"{named(version)}, process {number}," for number in serving}


def _ending(version: VersionState, who: str, was: Found, now: Found) -> tuple[str, str] | None:
    """The word and the sentence for a process that ended by itself, and was not stopped."""
    goes_on = version.status == "running" and count_of(version) > 1
    if not was.alive or now.alive or not (version.status == "crashed" or goes_on):
        return None
    text = f"{who} ended by itself ({ending_text(now.exit_status)})"
    if now.restarts is not None and now.restarts.gave_up:
        text += f", and stays down after {now.restarts.times} restarts in a row"
    elif now.restarts is not None and now.restarts.next_at is not None:
        text += ", and is started again"
    return "ended", f"{text}."


def _restart(who: str, was: Found, now: Found) -> tuple[str, str] | None:
    """The word and the sentence for a process that its supervisor has started again since."""
    if now.restarts is None or was.restarts is None or now.restarts.times <= was.restarts.times:
        return None
    ended = ending_text(now.restarts.last_exit_status)
    times = f"{now.restarts.times} restart{'s'[: now.restarts.times > 1]} so far"
    return "restarted", f"{who} was started again as pid {now.pid} after it had ended ({ended}); {times}."


class EventRecorder:
    """Looks once a second, in the leading worker.

    Args:
        file: where events are kept.
        leads: whether this worker leads now.
        look: sees what the deployment is in.
    """

    def __init__(
        self,
        file: EventFile,
        leads: Callable[[], bool],
        look: Callable[[], Look],
    ) -> None:
        self._file = file
        self._leads = leads
        self._look = look
        self._recording: Recording | None = None
        self._thread: ThreadPool | None = None

    def start(self) -> None:
        """Begins to look."""
        gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(1.0)
            if not self._leads():
                self._recording = None  # who leads meanwhile notes what comes
                continue
            if self._recording is None:
                self._recording = Recording(self._last_word())
            for event in self._recording.look(self._look(), time.time()):
                self._note(event)

    def _last_word(self) -> str:
        words = [event.event for event in self._file.read() if event.event in KINDS or event.event == WELL]
        return words[-1] if words else ""

    def _note(self, event: Event) -> None:
        logger.log(_LEVELS[Grade(event.severity)], "%s: %s", event.event, event.text)
        # In a thread of its own: a disk may be slow, and requests wait for nobody.
        self._thread = self._thread or ThreadPool(1)
        if fault := self._thread.apply(self._file.append, (event,)):
            logger.error("%s", fault)
