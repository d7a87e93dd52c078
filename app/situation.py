"""A table of the states that a deployment can be in, each with one word, one sentence and the command that helps.

`decide` is the one place where that is worked out. Both command lines, the page, the health endpoint and the metrics
gather what they can see of `Facts`, and say what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from app.canary.course import percent
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.facts import Facts, Failure, Recent
from app.state.model import VERSIONS, BlueGreenState, VersionState, other
from app.state.split import WHOLE
from app.units import GAP, ago_text, duration_text, ms_text, plain, versioned

__all__ = ["HELD_BACK", "KINDS", "SEEN_FROM_OUTSIDE", "Grade", "Kind", "Situation", "decide", "named", "situation_json"]

HELD_BACK: Final = 6
"""The exit code of `status` where an operator holds the traffic back."""

MANY_FAILED = 10
MUCH_FAILED = 0.05
"""So many of the last minute's requests, and such a share of them, are more than a mishap."""

MISSING = "is missing"
"""What is said of a state file that is not there; any other fault is one of its content."""

MOST_CAUSES = 3
MOST_NAMED = 3
OWN_5XX = "the application's own 5xx"
"""A sentence names so many causes, and so many addresses; a request that failed without a cause was answered so by the
application."""

SLOW_REQUESTS = 100
SLOW_TIMES = 3
SLOW_BY_MS = 100.0
"""Of so many requests in the last minute, a p95 so many times what it mostly was, and by so much longer, is slow."""

JUST_BEGUN_S = 90.0
"""Of failures that began in the last minute, more or less, nothing needs to be said but that."""

JUST_SWITCHED_S = 60.0
"""So long a switch is news. A drain is told of for as long as it lasts."""


class Grade(StrEnum):
    """How grave a situation is."""

    OK = "ok"
    WARNS = "warns"
    """Traffic flows, and somebody should look."""
    NO_TRAFFIC = "no traffic"


class Kind(NamedTuple):
    """What follows from a situation's word alone.

    `exit_code` is that of `status`. `is_fit`: a balancer may go on sending clients to the router. `tone` is the
    page's: "calm", "busy" or "alarm".
    """

    grade: Grade
    exit_code: int
    is_fit: bool
    tone: str


_DOWN = Kind(Grade.NO_TRAFFIC, 1, False, "alarm")
_HELD = Kind(Grade.NO_TRAFFIC, HELD_BACK, True, "busy")
_DOUBTFUL = Kind(Grade.WARNS, 0, True, "alarm")
_REDUCED = Kind(Grade.WARNS, 0, True, "busy")
_MOVING = Kind(Grade.OK, 0, True, "busy")
_WELL = Kind(Grade.OK, 0, True, "calm")

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "silent": _DOWN,
        "unknown": _DOWN,
        "inactive": _DOWN,
        "maintenance": _HELD,
        "paused": _HELD,
        "failover": _DOUBTFUL,
        "crashed": _DOWN,
        "failing": _DOWN,
        "erring": _DOUBTFUL,
        "slow": _DOUBTFUL,
        "reduced": _REDUCED,
        "stale": _DOUBTFUL,
        "shared": _MOVING,
        "draining": _MOVING,
        "switched": _WELL,
        "serving": _WELL,
        "new": _WELL,
    }
)
"""Every situation, in the order in which `decide` looks for them: an earlier one says what a later one would hide."""

SEEN_FROM_OUTSIDE: Final = frozenset({"silent", "new"})
"""A router that could tell of these would not be in them."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One of `KINDS`: its word, a sentence or two, and the command line that helps, "" when none is needed.

    `topic` stays the same while only figures in the sentence change.
    """

    word: str
    text: str
    topic: str
    advice: str = ""

    @property
    def kind(self) -> Kind:
        """What follows from the word."""
        return KINDS[self.word]


def situation_json(situation: Situation) -> dict[str, object]:
    """A situation for programs."""
    kind = situation.kind
    return {
        "word": situation.word,
        "severity": kind.grade.value,
        "exit_code": kind.exit_code,
        "sentence": plain(situation.text),
        "advice": situation.advice or None,
    }


class _Told(NamedTuple):
    """What one of the judges found: a sentence, what it is about, and the words of the command that helps."""

    text: str
    topic: str
    advice: str = ""


def decide(facts: Facts) -> Situation:
    """The first situation of `KINDS` that the facts are in."""
    told_of = ((word, _JUDGES[word](facts)) for word in KINDS)
    word, told = next((word, told) for word, told in told_of if told is not None)  # one of them always finds something
    return Situation(word, *_with_state_fault(facts, told))


def _with_state_fault(facts: Facts, told: _Told) -> _Told:
    """What is told, and that no command can do anything about it until the state file is mended."""
    if not facts.state_fault or facts.state is None:
        return told
    broken = "The state file is broken: the last good state is served, and no command can change anything."
    return _Told(f"{told.text} {broken}", f"{told.topic}; state fault", f"{PROGRAM} repair")


def named(version: VersionState) -> str:
    """A version as people call it: Blue 1.4.2."""
    return versioned(version.name.capitalize(), version.release)


def _low(version: VersionState) -> str:
    """A version within a sentence: green 1.5.0."""
    return versioned(version.name, version.release)


# --- nobody is served ------------------------------------------------------------------------------------


def _is_new(facts: Facts) -> bool:
    """Whether nothing was ever started here."""
    if facts.state is None:
        return not facts.state_fault
    versions = facts.state.versions.values()
    return facts.state.active is None and all(it.started_at is None and it.status == "stopped" for it in versions)


def _silent(facts: Facts) -> _Told | None:
    if not facts.silence or _is_new(facts):
        return None
    text = f"The router does not answer, so nobody is served: {facts.silence}."
    return _with_trouble(facts, _Told(text, "silent", f"{ROUTER_PROGRAM} start"))


def _new(facts: Facts) -> _Told | None:
    text = "Nothing was started here yet."
    well = next((name for name in facts.elsewhere if name in facts.checks and not facts.checks[name].failing), None)
    return _Told(text, "new", f"{PROGRAM} switch {well}") if well else _begun(facts, "blue", text, "new")


def _begun(facts: Facts, name: str, text: str, topic: str, command: str = "start") -> _Told:
    """What is told, and how a version comes to life; one that others run is not for the commands to start."""
    if where := facts.elsewhere.get(name):
        return _Told(f"{text} Others run {name}: start it where it runs, at {_some(where)}.", topic)
    return _Told(text, topic, f"{PROGRAM} {command} {name}")


def _some(texts: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unknown(facts: Facts) -> _Told | None:
    if facts.state is not None or facts.silence:
        return None
    reason = facts.state_fault or "there is no state file"
    text = f"No version is known, so every request is answered with 503: {reason}."
    if facts.state_fault and MISSING not in facts.state_fault:
        return _Told(text, "no state", f"{PROGRAM} status")
    return _begun(facts, "blue", text, "no state")


def _inactive(facts: Facts) -> _Told | None:
    if facts.state is None or facts.state.active is not None or facts.silence:
        return None
    well = [version for version in facts.state.versions.values() if facts.is_well(version)]
    fit = next((version for version in well if version.rolled_back_at is None), None)
    text, topic = "No version is active, so every request is answered with 503.", "none active"
    return _Told(text, topic, f"{PROGRAM} switch {fit.name}") if fit else _begun(facts, VERSIONS[0], text, topic)


def _maintenance(facts: Facts) -> _Told | None:
    state = facts.state
    on = state.maintenance_at(facts.at) if state is not None else None
    if state is None or on is None:
        return None
    ends = "" if on.until is None else f", and for {duration_text(on.until - facts.at)} more"
    text = (
        f"Maintenance for {duration_text(facts.at - on.since)}{ends}: "
        f"clients are answered with 503 instead of going to {state.active_version}."
    )
    return _with_trouble(facts, _Told(text, "maintenance", f"{PROGRAM} maintenance off"))


def _paused(facts: Facts) -> _Told | None:
    state = facts.state
    on = state.pause_at(facts.at) if state is not None else None
    if state is None or state.active is None or on is None:
        return None
    waiting = _waiting(facts.held) if facts.held else "new requests wait"
    left = duration_text(on.until - facts.at)
    text = f"Traffic to {_low(state.active)} is paused: {waiting}, for {left} at most."
    return _with_trouble(facts, _Told(text, "paused", f"{PROGRAM} resume"))


def _with_trouble(facts: Facts, told: _Told) -> _Told:
    """What is told, and what would meet clients if it ended now: that is mended first."""
    trouble = _crashed(facts) or _failing(facts)
    if trouble is None:
        return told
    return _Told(f"{told.text} {trouble.text}", f"{told.topic}; {trouble.topic}", trouble.advice)


# --- the active version does not work --------------------------------------------------------------------


def _failover(facts: Facts) -> _Told | None:
    active = facts.state.active if facts.state is not None else None
    if facts.state is None or active is None or facts.failover_from != active.name:
        return None
    standby = facts.state.version(other(active.name))
    text = f"{named(active)} is down; {_low(standby)} stands in until {active.name} is healthy again."
    return _way_out(facts, text, f"failover from {active.name}")


def _crashed(facts: Facts) -> _Told | None:
    active = facts.state.active if facts.state is not None else None
    if active is None or active.status != "crashed":
        return None
    ended = facts.ended_at.get(active.name)
    when = f" {ago_text(facts.at - ended)}" if ended else ""
    text = f"{named(active)} is active but crashed{when}{_waits_for_it(facts)}."
    restarts = facts.restarts.get(active.name)
    if restarts is not None and restarts.next_at is not None:
        text = f"{text} It is started again {_soon(restarts.next_at - facts.at)}."
    elif restarts is not None and restarts.gave_up:
        text = f"{text} It was started again {restarts.times} times and failed each time."
    return _way_out(facts, text, f"{active.name} crashed")


def _soon(in_s: float) -> str:
    return "at once" if in_s < 1 else f"in {duration_text(in_s)}"


def _failing(facts: Facts) -> _Told | None:
    active = facts.state.active if facts.state is not None else None
    checks = facts.checks.get(active.name) if active is not None else None
    if active is None or checks is None or not checks.failing:
        return None
    which = "the last health check" if checks.failing == 1 else f"the last {checks.failing} health checks"
    reason = f": {checks.reason}" if checks.reason else ""
    text = f"{named(active)} is active but failed {which}{reason}{_waits_for_it(facts)}."
    return _way_out(facts, text, f"{active.name} fails")


def _erring(facts: Facts) -> _Told | None:
    """It is well, but many of its answers are not."""
    active, recent = facts.state.active if facts.state is not None else None, facts.recent
    if active is None or recent.failed < max(MANY_FAILED, MUCH_FAILED * recent.requests):
        return None
    share = f"{100 * recent.failed / recent.requests:.0f}{GAP}%"
    text = f"{_serves(facts)}, but {share} of the last minute's requests failed{_why(recent)}."
    if recent.failing_for_s is not None and recent.failing_for_s >= JUST_BEGUN_S:
        text = f"{text} That began {ago_text(recent.failing_for_s)}."
    return _way_out(facts, text, f"{active.name} {active.release} errs")


def _why(recent: Recent) -> str:
    """What most of the failed requests have in common, most first."""
    told = [f"{one.times:,} with {_by(one)}" for one in recent.failures[:MOST_CAUSES]]
    rest = recent.failed - sum(one.times for one in recent.failures[:MOST_CAUSES])
    return ": " + ", ".join([*told, *([f"{rest:,} otherwise"] if rest > 0 else [])]) if told else ""


def _by(failure: Failure) -> str:
    what = failure.cause or (OWN_5XX if not failure.status else f"the application's own {failure.status}")
    return f"{what} on {failure.path}" if failure.path else what


def _slow(facts: Facts) -> _Told | None:
    """It is well, and its answers take much longer than they did."""
    active, recent = facts.state.active if facts.state is not None else None, facts.recent
    now_ms, usual_ms = recent.p95_ms, recent.usual_p95_ms
    if active is None or now_ms is None or usual_ms is None or recent.requests < SLOW_REQUESTS:
        return None
    if now_ms < max(SLOW_TIMES * usual_ms, usual_ms + SLOW_BY_MS):
        return None
    text = (
        f"{_serves(facts)}, but slowly: in the last minute 95{GAP}% of its answers took up to "
        f"{ms_text(now_ms)}, in the half hour before that {ms_text(usual_ms)}."
    )
    return _way_out(facts, text, f"{active.name} {active.release} is slow")


def _reduced(facts: Facts) -> _Told | None:
    """It is well, but not with all that it has."""
    active = facts.state.active if facts.state is not None else None
    rows = facts.backends.get(active.name, ()) if active is not None else ()
    out = [f"{row.address} is {row.state}" for row in rows if row.is_out]
    if active is None or not out:
        return None
    are = "is" if len(out) == 1 else "are"
    text = f"{_serves(facts)}, but {len(out)} of its {len(rows)} backends {are} out: {_some(out)}."
    # Our own processes are replaced one after the other, those that are down first.
    advice = "health-check" if active.backends or not active.instances else f"restart {active.name}"
    return _Told(text, f"{active.name} {active.release} is reduced", f"{PROGRAM} {advice}")


def _way_out(facts: Facts, text: str, topic: str) -> _Told:
    """Away from an active version that does not work, or back to life with it; never to what was rolled back."""
    assert facts.state is not None and facts.state.active is not None
    active = facts.state.active
    standby = facts.state.version(other(active.name))
    if facts.is_well(standby):
        if standby.rolled_back_at is None:
            return _Told(text, topic, f"{PROGRAM} switch {standby.name}")
        ago = ago_text(facts.at - standby.rolled_back_at)
        text = f"{text} {named(standby)} answers, but was rolled back {ago}."
    if facts.is_well(active):
        return _Told(text, topic, "" if active.name in facts.elsewhere else f"{PROGRAM} logs {active.name}")
    has_process = active.status in ("starting", "running", "stopping")
    return _begun(facts, active.name, text, topic, "restart" if has_process else "start")


# --- traffic flows ---------------------------------------------------------------------------------------


def _serves(facts: Facts) -> str:
    """What the active version does, while it serves."""
    assert facts.state is not None and facts.state.active is not None
    share = facts.state.shared_at(facts.at)
    return f"{named(facts.state.active)} serves {f'{percent(WHOLE - share, GAP)} of the' if share else 'all'} traffic"


def _shared(facts: Facts) -> _Told | None:
    """Two versions have traffic, as a split says."""
    state, active = facts.state, facts.state.active if facts.state is not None else None
    if state is None or active is None or not (share := state.shared_at(facts.at)):
        return None
    canary = state.version(other(active.name))
    return _Told(f"{_serves(facts)}, and {_low(canary)} {percent(share, GAP)}.", f"{canary.name} has a share")


def _draining(facts: Facts) -> _Told | None:
    """Traffic has moved, and the old version has requests to finish."""
    state, active = facts.state, facts.state.active if facts.state is not None else None
    if state is None or active is None:
        return None
    left_behind = other(active.name)
    left, oldest_s = facts.in_flight.get(left_behind, 0), facts.oldest_s.get(left_behind)
    if not left:
        return None
    age = f", the oldest {duration_text(oldest_s)}" if oldest_s is not None else ""
    to, ago_s = _low(active), _since_switch(facts, state)
    if ago_s is None:
        text = f"All new requests go to {to}"
    elif state.previous_version == left_behind:
        text = f"Switched to {to} {ago_text(ago_s)}"
    else:
        text = f"Switched {ago_text(ago_s)}, new requests go to {to}"
    return _Told(f"{text}; {left_behind} still finishes {_requests(left)}{age}.", f"drain {left_behind}")


def _stale(facts: Facts) -> _Told | None:
    return _serving(facts) if facts.state_fault and facts.state is not None else None


def _switched(facts: Facts) -> _Told | None:
    state, active = facts.state, facts.state.active if facts.state is not None else None
    if state is None or active is None or state.previous_version is None:
        return None
    ago_s = _since_switch(facts, state)
    if ago_s is None or ago_s >= JUST_SWITCHED_S:
        return None
    text = f"Switched to {_low(active)} {ago_text(ago_s)}; {other(active.name)} has nothing left to finish."
    return _Told(text, f"{active.name} {active.release} switched")


def _serving(facts: Facts) -> _Told | None:
    active = facts.state.active if facts.state is not None else None
    if active is None:
        return None
    return _Told(f"{_serves(facts)}.", f"{active.name} {active.release} serves")


def _since_switch(facts: Facts, state: BlueGreenState) -> float | None:
    return None if state.switched_at is None else max(0.0, facts.at - state.switched_at)


def _waits_for_it(facts: Facts) -> str:
    """What is said of requests that are held until their version is back."""
    return f"; {_waiting(facts.held)} for it" if facts.held else ""


def _waiting(held: int) -> str:
    return f"{_requests(held)} {'waits' if held == 1 else 'wait'}"


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"


_JUDGES: Final[Mapping[str, Callable[[Facts], _Told | None]]] = {
    "silent": _silent,
    "unknown": _unknown,
    "inactive": _inactive,
    "maintenance": _maintenance,
    "paused": _paused,
    "failover": _failover,
    "crashed": _crashed,
    "failing": _failing,
    "erring": _erring,
    "slow": _slow,
    "reduced": _reduced,
    "stale": _stale,
    "shared": _shared,
    "draining": _draining,
    "switched": _switched,
    "serving": _serving,
    "new": _new,
}
