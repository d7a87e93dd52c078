"""Every change that a command made or tried, in `history.jsonl`: first the intent, then how far it came,
then the end.

One JSON object a line, only ever appended, each in one write. The lines of one command share an `id`; a
command without a closing line broke off. An unreadable line is skipped by readers and never rewritten.
Each line is chained to the one before it (`app.deploy.record.hash_chain`), so that a later change of it is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from app.deploy.phases import Operation, Phase
from app.deploy.record.hash_chain import ChainLink, chained, last_hash, links
from app.operator_errors import StateError
from app.state.process_birth import birth
from app.state.store import mending

__all__ = [
    "AFTER_THE_SWITCH",
    "DONE",
    "DOUBTFUL",
    "Entry",
    "History",
    "Intent",
    "OpenEntry",
    "ROLLED_BACK",
    "user_name",
]

_FILE_MODE = 0o644

_RECENT_BYTES = 65_536
"""Some hundred commands; a command that broke off is the last one or nearly so."""


class Intent(NamedTuple):
    """What a command is about to do; the active version before it is `came_from`, after it `goes_to`.

    `runs` is what the target is started with, or was: its release, dir and command. `replaces` is what it was
    started with before.
    """

    operation: Operation
    command: str
    target: str
    came_from: str | None
    goes_to: str | None
    release: str | None
    phases: tuple[Phase, ...]
    runs: Mapping[str, str | None] = {}
    replaces: Mapping[str, str | None] = {}


class Entry(NamedTuple):
    """One command as the history tells it; `outcome` is None when no end was written.

    `at` is wall time in seconds since the epoch. `detail` says in words what came of it. `number` counts the
    commands from 1; 0 where only the end of the file was read. `facts` holds the receipt of a switch. `birth` is
    that of the process `pid`, which tells whether it is still at work.
    """

    id: str
    at: float
    who: str
    pid: int
    command: str
    operation: str
    target: str
    came_from: str | None
    goes_to: str | None
    release: str | None
    phase: str | None = None
    outcome: str | None = None
    detail: str = ""
    duration_s: float | None = None
    facts: Mapping[str, object] = {}
    phases: Sequence[str] = ()
    runs: Mapping[str, str | None] = {}
    replaces: Mapping[str, str | None] = {}
    number: int = 0
    birth: str | None = None

    @property
    def has_switched(self) -> bool:
        """Whether the command came past the point at which traffic goes to the new version, and left it there."""
        return self.outcome in DONE or (self.phase in AFTER_THE_SWITCH and self.outcome != ROLLED_BACK)


DOUBTFUL: Final = "doubtful"
"""The outcome of a deploy that stands although its watch found something against the new version, without a proof."""

DONE: Final = ("done", DOUBTFUL)
"""The outcomes of commands that did what they were told."""

ROLLED_BACK: Final = "rolled back"
"""The outcome of a command whose switch was taken back because the new version was found wanting."""

AFTER_THE_SWITCH = frozenset({Phase.LINKING, Phase.POST_SWITCH, Phase.WATCHING, Phase.DRAINING, Phase.RETIRING})
"""What a command does when the traffic has gone to its target."""


class OpenEntry:
    """A command that is at work: its lines are written through here."""

    def __init__(self, history: History, id_: str, began: float) -> None:
        self._history = history
        self._began = began
        self.id = id_
        self.phase: Phase | None = None

    def enter(self, phase: Phase) -> None:
        """Note that a phase begins."""
        self.phase = phase
        self._history.append({"id": self.id, "phase": phase.value})

    def close(self, outcome: str, detail: str = "", **facts: object) -> None:
        """Note how the command ended; `facts` are figures to keep with it."""
        duration_s = round(self._history.clock() - self._began, 3)
        end = {"id": self.id, "outcome": outcome, "detail": detail, "duration_s": duration_s}
        self._history.append({**end, "facts": facts} if facts else end)


class History:
    """The history file of one state file; `clock` is monotonic, `now` is wall time."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.clock = clock
        self._now = now

    def begin(self, intent: Intent) -> OpenEntry:
        """Write the intent to the disk before anything is done; raises `StateError` when that fails."""
        id_ = os.urandom(6).hex()
        what = {_WRITTEN.get(key, key): value for key, value in intent._asdict().items()}
        pid = os.getpid()
        at, began = self._now(), self.clock()  # together: the time and the duration tell when it ended
        self.append({"id": id_, "at": round(at, 3), "who": user_name(), "pid": pid, "birth": birth(pid), **what})
        return OpenEntry(self, id_, began)

    def note(self, name: str, came_from: str | None, goes_to: str | None, detail: str, at: float, who: str = "") -> str:
        """Write down in one line what was done at wall time `at`, by `who` or by us; gives its id.

        Raises `StateError`.
        """
        id_ = os.urandom(6).hex()
        what = {"command": name, "operation": name, "target": goes_to, "from": came_from, "to": goes_to}
        end = {"release": None, "outcome": "done", "detail": detail}
        self.append({"id": id_, "at": round(at, 3), "who": who or user_name(), "pid": os.getpid(), **what, **end})
        return id_

    def append(self, line: Mapping[str, object]) -> None:
        """Add one line, complete and on the disk; raises `StateError` when it could not be written."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise self._fault("opened", error) from error
        try:
            # A drain writes its end without the deployment's lock, so that lines need one of their own.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_line(descriptor, chained(line, last_hash(_end_of(descriptor))))
            os.fsync(descriptor)
        except OSError as error:
            raise self._fault("written", error) from error
        finally:
            os.close(descriptor)

    def entries(self, last_bytes: int | None = None) -> list[Entry]:
        """All commands, or those that begin in the file's last so many bytes, oldest first."""
        found: dict[str, Entry] = {}
        for line in self._lines(last_bytes):
            id_ = line.get("id")
            if not isinstance(id_, str):
                continue
            try:
                known = _read(line)
                found[id_] = found[id_]._replace(**known) if id_ in found else Entry(**known)  # type: ignore[arg-type]  # JSON
            except TypeError:
                continue  # the line that began this command is damaged
        entries = list(found.values())
        if last_bytes is None:
            entries = [entry._replace(number=number) for number, entry in enumerate(entries, 1)]
        return entries

    def verify(self) -> list[ChainLink]:
        """Every line, and what is wrong with it, if anything; raises `StateError` when it cannot be read."""
        return links(self._raw(None).splitlines())

    def unfinished(self) -> list[Entry]:
        """The recent commands whose end was not written: they are at work, or were killed."""
        return [entry for entry in self.entries(_RECENT_BYTES) if entry.outcome is None]

    def knows(self, id_: str) -> bool:
        """Whether it tells of the command of that id; raises `StateError` when it cannot be read."""
        return any(line.get("id") == id_ for line in self._lines(None))

    def _lines(self, last_bytes: int | None) -> Iterator[dict[str, object]]:
        for line in self._raw(last_bytes).splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value

    def _raw(self, last_bytes: int | None) -> bytes:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0 if last_bytes is None else max(0, size - last_bytes))
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._fault("read", error) from error

    def _fault(self, done: str, error: OSError) -> StateError:
        return StateError(f"history {self.path} cannot be {done}: {error.strerror}", mending(error, self.path))

    def as_json(self, entry: Entry) -> dict[str, object]:
        """An entry under the names that the file uses."""
        return {_WRITTEN.get(key, key): value for key, value in entry._asdict().items()}


_WRITTEN = {"came_from": "from", "goes_to": "to"}
"""Names in the file that are words of Python."""

_READ = {written: name for name, written in _WRITTEN.items()}

_OLD_PHASES = {"smoking": Phase.SMOKE_TEST, "posting": Phase.POST_SWITCH, "setting": Phase.WRITE_STATE}
"""What phases were called in histories that are still there."""

_KEYS = frozenset(_WRITTEN.get(name, name) for name in Entry._fields)


def _read(line: Mapping[str, object]) -> dict[str, object]:
    """What a line says, by the names of an entry's fields; raises TypeError for a damaged one."""
    known = {_READ.get(key, key): value for key, value in line.items() if key in _KEYS}
    if known.get("phase") in _OLD_PHASES:
        known["phase"] = _OLD_PHASES[str(known["phase"])].value
    if isinstance(phases := known.get("phases"), list):
        known["phases"] = [_OLD_PHASES.get(phase, phase) for phase in phases]
    return known


def user_name() -> str:
    """Who gives the commands; with sudo, the person behind it."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # containers run under numbers without a name
        name = str(uid)
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {name})" if behind and behind != name else name


def _end_of(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _RECENT_BYTES, max(0, size - _RECENT_BYTES))


def _write_line(descriptor: int, line: bytes) -> None:
    """Append a line, or nothing of it when that fails; half a line left by a power cut is closed first."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    written = os.write(descriptor, line)
    if written < len(line):
        os.ftruncate(descriptor, size)
        raise OSError(28, "No space left on device")
