"""What a deploy command tells while it works, as lines for the person at the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from app.cli.terminal import Progress, count_text, dim, mark, ms_text
from app.deploy import events as ev
from app.deploy.processes.reconcile import ending_text
from app.deploy.record.receipt import Receipt, VersionReceipt
from app.deploy.traffic import TrafficSample
from app.state.model import VERSIONS

__all__ = ["EventPrinter", "conduct_text", "probe_text", "receipt_lines"]


def probe_text(timed: ev.TimedProbe) -> str:
    """A probe in one line, verbatim: when, status, ms, Location and first bytes, and what is wrong."""
    result = timed.result
    parts = [f"{timed.elapsed_s:5.1f} s", str(result.status) if result.status else "no answer"]
    parts.append(ms_text(result.latency_ms))
    if result.location:
        parts.append(f"Location: {result.location}")
    if result.body_start:
        parts.append(repr(result.body_start)[1:])
    if result.reason:
        parts.append(f"({result.reason})")
    return "  ".join(parts)


def receipt_lines(receipt: Receipt) -> list[str]:
    """The receipt as a small table: each version's requests from the switch on, and what became of them."""
    drained = f", drained in {receipt.drain_s:.1f} s" if receipt.drain_s is not None and not receipt.remaining else ""
    lines = [f"🧾 Requests since the switch, {receipt.duration_s:.1f} s{drained}"]
    # What the router answered by itself is worth a line only when there was any.
    if not any(one.started or one.held for one in receipt.accounts.values()):
        return ["🧾 No request was in flight at the switch, and none has come since"]
    shown = {name: one for name, one in receipt.accounts.items() if name in VERSIONS or one.started or one.held}
    width = max(len(count_text(account.started)) for account in shown.values())
    for name, account in shown.items():
        lines.append(_account_line(name, account, width))
        lines += _backend_lines(account) + _cut_lines(account)
    return lines


_MOST_IDS = 20
"""Of cut requests in what is printed; the history keeps more."""


def _backend_lines(account: VersionReceipt) -> list[str]:
    """What each backend of a version that has several had of them."""
    return [
        f"           {address}: {count_text(one.started)}"
        + (f", {count_text(one.failures)} attempts failed" if one.failures else "")
        for address, one in account.backends.items()
        if account.started
    ]


def _cut_lines(account: VersionReceipt) -> list[str]:
    """The ids of the cut requests, which the access log has as well."""
    named = account.cut_ids[:_MOST_IDS]
    lines = [f"           cut: {request_id}" for request_id in named]
    if named and account.cut > len(named):
        lines.append(f"           and {count_text(account.cut - len(named))} more")
    return lines


def _account_line(name: str, account: VersionReceipt, width: int) -> str:
    parts = f"{count_text(account.finished)} finished + {count_text(account.cut)} cut + {account.in_flight} in flight"
    notes = []
    if account.failed > account.cut:
        notes.append(f"{count_text(account.failed - account.cut)} of the finished with an error 5xx")
    if account.held:
        notes.append(
            f"{count_text(account.held)} held, {ms_text(account.held_mean_ms)} on average, "
            f"the longest {ms_text(account.held_max_ms)}"
        )
    if account.retried:
        notes.append(f"{count_text(account.retried)} retried")
    if any(account.streams):
        handed_over, finished, cut = map(count_text, account.streams)
        notes.append(f"streams: {handed_over} handed over, {finished} finished, {cut} cut")
    return f"   {name:<6}  {count_text(account.started):>{width}} = {parts}" + (
        f"  ({'; '.join(notes)})" if notes else ""
    )


def conduct_text(conduct: TrafficSample) -> str:
    """How a version did, in one line."""
    if not conduct.requests:
        return "no request"
    percent = f"{100 * conduct.failed / conduct.requests:.1f} %"
    p95 = "" if conduct.p95_ms is None else f", 95 % within {ms_text(conduct.p95_ms)}"
    return f"{count_text(conduct.failed)} of {count_text(conduct.requests)} requests failed ({percent}){p95}"


def _goes_to(event: ev.Promoted | ev.RolledBack) -> str:
    """Where requests go, or will when there is a router to send them."""
    return f"requests {'' if event.has_router else 'will '}go to {event.place}" + (
        "" if event.has_router else " when the router runs"
    )


class EventPrinter:
    """Prints each event as it comes; waiting is one line that is redrawn on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress()

    def __call__(self, event: ev.Event) -> None:
        _PRINTERS[type(event)](self, event)

    def clear(self) -> None:
        """Take an unfinished progress line away before something else is printed."""
        self._progress.clear()

    def _say(self, *lines: str) -> None:
        self.clear()
        print(*lines, sep="\n", flush=True)

    def _lock_awaited(self, event: ev.LockAwaited) -> None:
        self._progress.say(f"Waiting for another command: {event.holder}; at most {event.wait_s:g} s")

    def _found(self, event: ev.BrokenOff) -> None:
        where = f" while {event.phase}" if event.phase else ""
        what = f"broke off{where}" if event.has_broken_off else "has no end in the history"
        self._say(f"⚠️  `{event.command}` (pid {event.pid}) {what}: {event.left_behind}")

    def _noted(self, event: ev.Noted) -> None:
        self._say(f"⚠️  {event.text}" if event.warns else f"   {event.text}")

    def _launched(self, event: ev.Launched) -> None:
        release = f", release {event.release}" if event.release else ""
        about = [
            f"   Command: {'the bundled demo application' if event.is_demo else event.command}",
            f"   Directory: {event.directory}",
        ]
        self._say(
            f"🚀 {event.version} started on {event.place} (pid {event.pid}{release})",
            *([] if event.is_further else map(dim, about)),
            *([dim(f"   Log: {event.log}")] if event.log else []),
        )

    def _probed(self, event: ev.Probed) -> None:
        result = event.probe.result
        if event.streak >= event.needed:
            leads = f" to {result.leads_to}" if result.leads_to else ""
            self._say(f"✅ {event.version} is healthy ({result.status}{leads} in {ms_text(result.latency_ms)})")
            return
        how = f"healthy {event.streak}/{event.needed}" if result.ok else result.reason
        self._progress.say(
            f"Waiting for {event.version} on {event.address.spot}: {how}", f"  {event.probe.elapsed_s:.1f} s"
        )

    def _diagnosed(self, event: ev.Diagnosed) -> None:
        self._say("", f"The last health checks of {event.version}:")
        self._say(*(f"   {probe_text(probe)}" for probe in event.probes))
        if event.log_tail:
            self._say(f"The end of {event.log}:", *(f"   {line}" for line in event.log_tail))
        self._say("")

    def _judged(self, event: ev.CanaryJudged) -> None:
        if event.is_news:
            self._say(f"🐤 {event.text}")
        else:
            self._progress.say(f"{event.version} is being tried", f": {event.text}")

    def _promoted(self, event: ev.Promoted) -> None:
        why = "; it is the first version, so no switch is needed" if event.is_first else ""
        self._say(f"✅ {event.version} is active: {_goes_to(event)}{why}")

    def _draining(self, event: ev.Draining) -> None:
        oldest = f", oldest {event.oldest_s:.1f} s, {event.oldest}" if event.oldest else ""
        # The age changes with each look; where lines cannot be redrawn only a new number is news.
        self._progress.say(
            f"{event.version}: {event.in_flight} in flight", f"{oldest}  ({max(0, event.left_s):.0f} s left)"
        )

    def _drained(self, event: ev.Drained) -> None:
        self._say(f"✅ {event.version}: no request in flight any more (drained in {event.duration_s:.1f} s)")

    def _overdue(self, event: ev.Overdue) -> None:
        waits = "; waiting on" if event.will_wait else ""
        self._say(f"⚠️  {event.version}: {event.in_flight} in flight after {event.duration_s:.0f} s{waits}")
        self._say(*(f"   {named}" for named in event.named))

    def _receipt(self, event: ev.ReceiptReady) -> None:
        self._say(*receipt_lines(event.receipt))

    def _running(self, event: ev.Running) -> None:
        self._progress.say(f"Running {event.command}, at most {event.timeout_s:g} s")

    def _ran(self, event: ev.Ran) -> None:
        how = f": {event.failure}" if event.failure else ""
        self._say(f"{mark(not event.failure)} {event.command} ({ms_text(event.duration_s * 1000)}){how}")
        if event.failure:
            self._say(*(dim(f"   | {line}") for line in event.output))

    def _rolled_back(self, event: ev.RolledBack) -> None:
        self._say(
            f"↩️  Rolled back: {event.version} is active again, {_goes_to(event)}",
            f"   {event.gave_up} keeps running without traffic, so that you can look at it"
            if event.runs
            else f"   {event.gave_up} does not run any more",
        )

    def _watching(self, event: ev.Watching) -> None:
        self._progress.say(f"Watching {event.version}", f": {conduct_text(event.after)}  ({event.left_s:.0f} s left)")

    def _watched(self, event: ev.Watched) -> None:
        self._say(
            f"👀 {event.version} was watched: {conduct_text(event.after)}",
            f"   before the switch: {conduct_text(event.before)}",
            f"   errors: {event.errors}",
            f"   times: {event.times}",
        )

    def _stopping(self, event: ev.Stopping) -> None:
        self._progress.say(f"Stopping {event.version} (pid {event.pid}), at most {event.timeout_s:g} s")

    def _stopped(self, event: ev.Stopped) -> None:
        killed = ", killed because it did not end by itself" if event.was_killed else ""
        self._say(f"🛑 {event.version} stopped (pid {event.pid}, {ending_text(event.exit_status)}{killed})")

    def _ended(self, event: ev.Ended) -> None:
        self._say(f"{mark(event.exit_status == 0)} {event.version} ended: {ending_text(event.exit_status)}")


# Each method takes the one event class that it is listed under.
_PRINTERS: Final[Mapping[type[ev.Event], Callable[[EventPrinter, Any], None]]] = {
    ev.LockAwaited: EventPrinter._lock_awaited,
    ev.BrokenOff: EventPrinter._found,
    ev.Noted: EventPrinter._noted,
    ev.Launched: EventPrinter._launched,
    ev.Probed: EventPrinter._probed,
    ev.Diagnosed: EventPrinter._diagnosed,
    ev.CanaryJudged: EventPrinter._judged,
    ev.Promoted: EventPrinter._promoted,
    ev.Draining: EventPrinter._draining,
    ev.Drained: EventPrinter._drained,
    ev.Overdue: EventPrinter._overdue,
    ev.ReceiptReady: EventPrinter._receipt,
    ev.Running: EventPrinter._running,
    ev.Ran: EventPrinter._ran,
    ev.RolledBack: EventPrinter._rolled_back,
    ev.Watching: EventPrinter._watching,
    ev.Watched: EventPrinter._watched,
    ev.Stopping: EventPrinter._stopping,
    ev.Stopped: EventPrinter._stopped,
    ev.Ended: EventPrinter._ended,
}
