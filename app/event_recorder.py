"""Notes how the deployment's situation changes, once for all workers: in the log, and in the file of events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from logging import ERROR, INFO, WARNING, getLogger

import gevent
from gevent.threadpool import ThreadPool

from app.event_file import Event, EventFile
from app.situation import KINDS, Grade, Situation
from app.state.model import BlueGreenState
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

    def look(self, situation: Situation, state: BlueGreenState | None, at: float) -> Event | None:
        """What to note of a situation at wall time `at`: nothing while its word is that of before."""
        word = situation.word if situation.kind.grade is not Grade.OK else WELL
        if word == self._last:
            return None
        now = self._clock()
        if len(self._noted) == AT_MOST and now - self._noted[0] < WINDOW_S:
            self._left_out += 1
            self._last = word
            return None
        self._noted.append(now)
        more = f" ({self._left_out} more changes in the minute before)" if self._left_out else ""
        self._last, self._left_out = word, 0
        active = state.active if state is not None else None
        return Event(
            at,
            word,
            plain(situation.text) + more,
            situation.kind.grade.value,
            None if active is None else active.name,
            None if active is None else active.release,
        )


class EventRecorder:
    """Looks once a second, in the leading worker.

    Args:
        file: where events are kept.
        leads: whether this worker leads now.
        situation, state: what the deployment is in, and its state.
    """

    def __init__(
        self,
        file: EventFile,
        leads: Callable[[], bool],
        situation: Callable[[], Situation],
        state: Callable[[], BlueGreenState | None],
    ) -> None:
        self._file = file
        self._leads = leads
        self._situation = situation
        self._state = state
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
            event = self._recording.look(self._situation(), self._state(), time.time())
            if event is not None:
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
