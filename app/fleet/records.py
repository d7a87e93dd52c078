"""What stands in the fleet's store: the values, and their form as JSON.

    desired               what the nodes are to run, since the last commit
    rollout/<id>          what is being done, or was
    progress/<id>/<node>  how far a node is with it
    lock                  who leads it
    paused                no rollout begins or goes on while it is there

Each value says its format. One that is newer than ours, or none of ours, is told by its key and never guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Self, TypeVar

from app.operator_errors import OperatorError

__all__ = [
    "DESIRED",
    "FORMAT",
    "LOCK",
    "NODES",
    "PAUSED",
    "ROLLOUTS",
    "Desired",
    "FleetRollout",
    "Initiator",
    "NodeProgress",
    "RecordFault",
    "RolloutPhase",
    "Sample",
    "Stage",
    "Wanted",
    "node_key",
    "progress_key",
    "rollout_key",
]

FORMAT: Final = 1

DESIRED: Final = "desired"
LOCK: Final = "lock"
PAUSED: Final = "paused"
NODES: Final = "nodes/"
ROLLOUTS: Final = "rollout/"
"""What an agent watches: everything that concerns all nodes changes one of these, and what the others say does not."""


def node_key(node: str) -> str:
    """Where a node says how it is."""
    return f"{NODES}{node}"


def rollout_key(rollout: str) -> str:
    """Where a rollout stands."""
    return f"{ROLLOUTS}{rollout}"


def progress_key(rollout: str, node: str) -> str:
    """Where a node says how far it is with a rollout."""
    return f"progress/{rollout}/{node}"


class RecordFault(OperatorError):
    """A value in the store that is not what its key says."""

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"{key} in the fleet's store {fault}")
        self.key = key


class RolloutPhase(StrEnum):
    """What a rollout is at. The last two are ends."""

    PREPARE = "prepare"
    HOLD = "hold"
    COMMIT = "commit"
    DONE = "done"
    ABORTED = "aborted"

    @property
    def is_open(self) -> bool:
        return self not in (RolloutPhase.DONE, RolloutPhase.ABORTED)


class Stage(StrEnum):
    """How far a node is."""

    PREPARING = "preparing"
    READY = "ready"
    HOLDING = "holding"
    WITHDRAWN = "withdrawn"
    """Its hold came to its end before a commit, so it serves what it served before."""
    SWITCHED = "switched"
    DRAINED = "drained"
    TAKEN_BACK = "taken back"
    FAILED = "failed"


_Kind = TypeVar("_Kind", bound=StrEnum)
_Value = TypeVar("_Value")


class _Fields:
    """The fields of one value; each method raises `RecordFault` for what is not there or is something else."""

    def __init__(self, key: str, found: object) -> None:
        if not isinstance(found, dict):
            raise RecordFault(key, "is no JSON object, so somebody else's")
        self._key: str = key
        self._found: dict[str, object] = found

    @classmethod
    def read(cls, key: str, text: str) -> Self:
        """Those of a whole value, whose format must be ours."""
        try:
            fields = cls(key, json.loads(text))
        except ValueError as error:
            raise RecordFault(key, "is no JSON, so somebody else's") from error
        format_ = fields.whole("format")
        if format_ > FORMAT:
            raise RecordFault(key, f"has format {format_}, and this program knows {FORMAT}: update it first")
        return fields

    def within(self, name: str) -> _Fields:
        return _Fields(f"{self._key}: {name}", self._found.get(name))

    def has(self, name: str) -> bool:
        return self._found.get(name) is not None

    def whole(self, name: str) -> int:
        return self._of(name, int)

    def number(self, name: str) -> float:
        value = self._found.get(name)
        return float(value if isinstance(value, int) else self._of(name, float))

    def text(self, name: str) -> str:
        return self._of(name, str)

    def text_or_none(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def texts(self, name: str) -> tuple[str, ...]:
        return self._texts(name, self._found.get(name))

    def rows(self, name: str) -> tuple[tuple[str, ...], ...]:
        return tuple(self._texts(name, row) for row in self._of(name, list))

    def one_of(self, name: str, kind: type[_Kind]) -> _Kind:
        value = self.text(name)
        if value not in set(kind):
            raise RecordFault(self._key, f"has {name} = {value!r}, which this program does not know")
        return kind(value)

    def _texts(self, name: str, row: object) -> tuple[str, ...]:
        if not isinstance(row, list) or not all(isinstance(one, str) for one in row):
            raise RecordFault(self._key, f"has no list of texts as {name}")
        return tuple(row)

    def _of(self, name: str, kind: type[_Value]) -> _Value:
        value = self._found.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RecordFault(self._key, f"has no usable {name}")
        return value


def _json(value: Mapping[str, object]) -> str:
    return json.dumps({"format": FORMAT, **value}, ensure_ascii=False, separators=(",", ":"))


class Wanted(NamedTuple):
    """What nodes are to run. `origin` is the rollout that brought it; "" is what each had before its first one."""

    origin: str
    release: str | None = None
    dir: str | None = None
    command: str | None = None

    @property
    def title(self) -> str:
        """What it is called, for people."""
        return self.release or self.dir or (self.origin and "a release without a name") or "what each node had before"

    @classmethod
    def of(cls, fields: _Fields) -> Self:
        return cls(fields.text("origin"), *(fields.text_or_none(name) for name in ("release", "dir", "command")))


def _wanted(fields: _Fields, name: str) -> Wanted | None:
    return Wanted.of(fields.within(name)) if fields.has(name) else None


def _wanted_json(wanted: Wanted | None) -> dict[str, str | None] | None:
    return None if wanted is None else wanted._asdict()


class Desired(NamedTuple):
    """What is committed. Epochs only grow; `previous` is what a rollback leads to. `at` is wall time in seconds."""

    epoch: int
    rollout: str
    wanted: Wanted
    previous: Wanted | None
    by: str
    at: float

    def to_json(self) -> str:
        wanted = {"wanted": _wanted_json(self.wanted), "previous": _wanted_json(self.previous)}
        return _json({**self._asdict(), **wanted})

    @classmethod
    def from_json(cls, key: str, text: str) -> Self:
        """Raises `RecordFault`."""
        fields = _Fields.read(key, text)
        return cls(
            fields.whole("epoch"),
            fields.text("rollout"),
            Wanted.of(fields.within("wanted")),
            _wanted(fields, "previous"),
            fields.text("by"),
            fields.number("at"),
        )


class FleetRollout(NamedTuple):
    """One deploy or rollback of the fleet.

    Attributes:
        epoch: what `desired` gets by its commit.
        waves: the nodes of each wave; `wave` of them may switch.
        hold_s: how long requests may be held so that all nodes switch between two of them; 0: they are not.
        watch_s: how long the nodes that have switched are compared with the others, after each wave.
        min_nodes: as many must be ready; a lost one more does not matter.
        was, was_previous: what `desired` had before.
        is_way_back: what has served before is to serve again, so there is nothing to go back to.
        note: what came of it, in words.
    """

    id: str
    epoch: int
    wanted: Wanted
    phase: RolloutPhase
    waves: tuple[tuple[str, ...], ...]
    wave: int
    hold_s: float
    watch_s: float
    min_nodes: int
    was: Wanted | None
    was_previous: Wanted | None
    is_way_back: bool
    by: str
    at: float
    note: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        """All that take part."""
        return tuple(node for wave in self.waves for node in wave)

    @property
    def may_switch(self) -> tuple[str, ...]:
        """Those whose wave has come."""
        return tuple(node for wave in self.waves[: self.wave] for node in wave)

    def without(self, nodes: Sequence[str]) -> FleetRollout:
        """The rollout of the others."""
        waves = (tuple(node for node in wave if node not in nodes) for wave in self.waves)
        return self._replace(waves=tuple(wave for wave in waves if wave))

    def to_json(self) -> str:
        wanted = {name: _wanted_json(getattr(self, name)) for name in ("wanted", "was", "was_previous")}
        return _json({**self._asdict(), **wanted, "is_way_back": int(self.is_way_back)})

    @classmethod
    def from_json(cls, key: str, text: str) -> Self:
        """Raises `RecordFault`."""
        fields = _Fields.read(key, text)
        return cls(
            fields.text("id"),
            fields.whole("epoch"),
            Wanted.of(fields.within("wanted")),
            fields.one_of("phase", RolloutPhase),
            fields.rows("waves"),
            fields.whole("wave"),
            fields.number("hold_s"),
            fields.number("watch_s"),
            fields.whole("min_nodes"),
            _wanted(fields, "was"),
            _wanted(fields, "was_previous"),
            bool(fields.whole("is_way_back")),
            fields.text("by"),
            fields.number("at"),
            fields.text("note"),
        )


class Sample(NamedTuple):
    """How a node's active version did in the last `seconds`; `p95_ms` is 0 without requests."""

    seconds: float
    requests: int
    failed: int
    p95_ms: float


class NodeProgress(NamedTuple):
    """How far a node is; `said` tells why it failed, `evidence` has its last probes and lines of its log."""

    stage: Stage
    said: str = ""
    evidence: tuple[str, ...] = ()
    sample: Sample | None = None

    def to_json(self) -> str:
        return _json({**self._asdict(), "sample": self.sample and self.sample._asdict()})

    @classmethod
    def from_json(cls, key: str, text: str) -> Self:
        """Raises `RecordFault`."""
        fields = _Fields.read(key, text)
        sample = None
        if fields.has("sample"):
            found = fields.within("sample")
            sample = Sample(
                found.number("seconds"), found.whole("requests"), found.whole("failed"), found.number("p95_ms")
            )
        return cls(fields.one_of("stage", Stage), fields.text("said"), fields.texts("evidence"), sample)


class Initiator(NamedTuple):
    """Who leads a rollout, or has paused the fleet: a person at a machine, and since when."""

    by: str
    at: float

    def to_json(self) -> str:
        return _json(self._asdict())

    @classmethod
    def from_json(cls, key: str, text: str) -> Self:
        """Raises `RecordFault`."""
        fields = _Fields.read(key, text)
        return cls(fields.text("by"), fields.number("at"))
