"""The command: `python -m tests.soak [--seconds 120] [--seed N] [--workers 2] [--instances 3] [--events a,b]`.

Ends with exit code 0 when every check of the books found nothing; otherwise with 1, and the folder with all logs
and records is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from random import Random, SystemRandom
from types import FrameType

from tests.soak import report
from tests.soak.books import Books
from tests.soak.crowd import Crowd
from tests.soak.events import EVENTS, Script, events_for
from tests.soak.evidence import Event, Evidence, figures, gather
from tests.soak.interrupting import start_router, stop_router
from tests.soak.layout import Layout
from tests.soak.site import Site
from tests.support.waiting import wait_until


def main(argv: list[str] | None = None) -> int:
    """Soak, report, judge; the exit code."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    _say(f"seed {options.seed}, everything is written to {folder}")
    try:
        books = Books(soak(folder, options))
    except KeyboardInterrupt:
        _say(f"\nInterrupted; all that was started has ended. Logs and records: {folder}")
        return 130
    found = report.faults(books)
    sys.stdout.write(report.as_text(books, found) + "\n")
    if options.json:
        options.json.write_text(json.dumps({"seed": options.seed, **report.as_json(books, found)}, indent=2) + "\n")
    if any(found.values()):
        _say(f"The books are NOT balanced. Logs and records: {folder}; once more: --seed {options.seed}")
        return 1
    shutil.rmtree(folder)
    _say("The books are balanced: nothing was lost")
    return 0


def soak(folder: Path, options: argparse.Namespace) -> Evidence:
    """Play events for some seconds while the clients ask; everybody's records. All that was started has ended then."""
    layout = Layout(options.instances, options.bind, options.max_in_flight)
    site = Site(folder, options.workers, layout=layout)
    names = options.events or list(events_for(layout))
    try:
        site.open()
        script = Script(site, Random(options.seed))
        script.record("start-kill", lambda: start_router(script))
        with Crowd(site.port, folder / "clients", str(options.seed)) as crowd:
            wait_until(lambda: crowd.count() > 100, "the first requests", 30)
            _play(script, crowd, options.seconds, names)
        script.record("verify", lambda: site.deploy("history", "--verify"))
        with suppress(AssertionError):  # the books will tell
            wait_until(lambda: not any(each.in_flight for each in figures(site).values()), "the last request", 30)
        evidence = gather(site, crowd.folder)
        script.record("stop-kill", lambda: stop_router(script))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of somebody in a hurry
        site.close()
    evidence.events, evidence.kills = script.events, script.kills
    evidence.spells, evidence.quiet, evidence.spared = script.spells, script.quiet, script.spared
    script.write_down(folder / "script.json")
    return evidence


def _play(script: Script, crowd: Crowd, seconds: float, names: list[str]) -> None:
    """Every event once, in any order, and then as they come, the frequent ones more often."""
    random, began = script.random, time.monotonic()
    first = random.sample(names, len(names))
    script.play("switch")  # or there would be nothing to roll back to
    while (elapsed := time.monotonic() - began) < seconds:
        name = first.pop() if first else random.choices(names, [EVENTS[name].weight for name in names])[0]
        event = script.play(name)
        crowd.check()
        _tell(f"{elapsed:4.0f} of {seconds:.0f} s", event, crowd.count())
        script.pass_time(0.0, 0.15)
    script.finish()
    if sys.stderr.isatty():
        _say("")


def _tell(when: str, event: Event, requests: int) -> None:
    text = f"{when}  {event.name:<19} {event.end - event.start:6.2f} s  {requests:>8,} requests"
    if event.error:
        _say(f"\n{text}  {event.error}")
    elif sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()
    else:
        _say(text)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="how long events are begun (default: 120)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32), help="which events, and when")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the router (default: 2)")
    parser.add_argument("--instances", type=int, default=1, help="processes of each version (default: 1)")
    parser.add_argument("--bind", choices=("tcp", "unix"), default="tcp", help="what they listen on (default: tcp)")
    parser.add_argument("--max-in-flight", type=int, default=0, help="requests that each gets at a time (default: all)")
    parser.add_argument("--events", type=_names, help=f"only these: {','.join(EVENTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report for programs")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(EVENTS):
        raise argparse.ArgumentTypeError(f"no such event: {', '.join(sorted(unknown))}")
    return names


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
