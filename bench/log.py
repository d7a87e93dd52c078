"""What a line of the access log costs, and whether one is ever lost or torn.

Usage: bench-log [--rounds=N] [--turns=N] [--lines=N] [--rotations=N] [--reloads=N] [--workers=N]

Options:
  --rounds=N     rounds, each with new routers; 0 leaves this part out [default: 6]
  --turns=N      turns of each router in a round [default: 20]
  --lines=N      requests that are to have a line each; 0 leaves this part out [default: 1000000]
  --rotations=N  times that logrotate rotates the file meanwhile, or, where that is not here, we do [default: 20]
  --reloads=N    reloads meanwhile [default: 5]
  --workers=N    workers of that router [default: 4]

1. Serving: CPU time of a whole worker for each request, of a router without a log and of one for each format. They take
   turns of a tenth of a second; since two processes of one program differ by up to a tenth for as long as they live,
   each round has new ones, and the median is over rounds.
2. Keeping the books: as many requests as are asked for, while the file is rotated and the router reloaded. In the end
   the metrics and the files must have the same number, and each line must be one object of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from app.log_fields import FORMATS
from bench.benchmark import Bench
from bench.origin import run_origin
from bench.processes import ROOT, Server
from bench.router import router
from bench.turns import CONNECTIONS, take_turn

__all__ = ["Books", "keep_books", "run"]

WARM_UP_TURNS = 5
PATH = "/api/items/12345?page=2&sort=name"
SETTLED_S = 30.0
LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")


# --- what a line costs ----------------------------------------------------------------------------------------


def take_turns(bench: Bench, folder: Path, origin_port: int) -> dict[str, float]:
    """The median CPU time for each request in µs, with no log and in each format; one round."""
    names = ["off", *FORMATS]
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                router(folder / name, origin_port, bench.cores.proxy, settings=_log_settings(folder / name, name))
            )
            for name in names
        }
        found: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(WARM_UP_TURNS + bench.count("--turns")):
            names.append(names.pop(0))
            for name in names:
                cost = take_turn(servers[name], PATH, bench.cores)
                if turn >= WARM_UP_TURNS:
                    found[name].append(cost)
    return {name: statistics.median(costs) for name, costs in found.items()}


def _log_settings(folder: Path, name: str) -> dict[str, str]:
    if name == "off":
        return {}
    return {"TRAFFIC_ROUTER_ACCESS_LOG": str(folder / "log"), "TRAFFIC_ROUTER_ACCESS_LOG_FORMAT": name}


def report_serving(bench: Bench) -> None:
    """Each format beside no log."""
    found = []
    with run_origin(bench.folder / "origin", bench.cores) as origin:
        for number in range(bench.count("--rounds")):
            folder = bench.folder / str(number)
            folder.mkdir()
            found.append(take_turns(bench, folder, origin.port))
    print("Serving one request, whole worker          median   more than without")
    for name in ("off", *FORMATS):
        more = statistics.median(costs[name] - costs["off"] for costs in found)
        print(f"  {name:<36} {statistics.median(costs[name] for costs in found):7.1f} µs {more:+7.1f} µs", flush=True)


# --- whether one is lost --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Books:
    """What there was in the end: requests by the metrics, lines by the files, and those that are no JSON."""

    requests: int
    lines: int
    torn: int

    @property
    def are_right(self) -> bool:
        """Whether each request has its line."""
        return self.requests == self.lines and not self.torn


def keep_books(server: Server, log: Path, lines: int, rotations: int, reloads: int) -> Books:
    """Loads a router until it has counted so many requests, and rotates and reloads meanwhile."""
    rotate = _logrotate(log, server.pid) if LOGROTATE else _rename(log, server.pid)
    with _load(server.port):
        events = _spread("rotate", rotations) + _spread("reload", reloads)
        for event, share in sorted(events, key=lambda one: one[1]):
            while _metrics(server.port)["total_requests"] < share * lines * 0.95:
                time.sleep(0.1)
            if event == "reload":
                os.kill(server.pid, signal.SIGHUP)
            else:
                next(rotate)
                _wait_for(log)
        while _metrics(server.port)["total_requests"] < lines:
            time.sleep(0.1)
    ends = time.monotonic() + SETTLED_S
    while not (books := _books(server.port, log)).are_right and time.monotonic() < ends:
        time.sleep(0.5)
    return books


def _spread(event: str, count: int) -> list[tuple[str, float]]:
    return [(event, (n + 0.5) / count) for n in range(count)]


def _logrotate(log: Path, pid: int) -> Iterator[None]:
    """Has the real one rotate, each time that the next is asked for."""
    sample, state = log.with_name("rotation.conf"), log.with_name("rotation.state")
    script = f"postrotate\n kill -USR1 {pid}\n endscript"
    sample.write_text(f"{log} {{\n rotate 1000\n nocreate\n {script}\n}}\n")
    sample.chmod(0o644)  # it reads no file that others may write
    while True:
        subprocess.run([str(LOGROTATE), "--force", "--state", str(state), str(sample)], check=True)
        yield


def _rename(log: Path, pid: int) -> Iterator[None]:
    for number in count():
        log.rename(log.with_suffix(f".{number}"))
        os.kill(pid, signal.SIGUSR1)
        yield


def _wait_for(log: Path) -> None:
    """A file that is renamed once more before the workers have opened it would leave them in the one before."""
    ends = time.monotonic() + SETTLED_S
    while not log.exists() and time.monotonic() < ends:
        time.sleep(0.01)


@contextmanager
def _load(port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.closed_loop", str(port), PATH, "86400", str(CONNECTIONS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as load:
        try:
            yield
        finally:
            load.terminate()


def _metrics(port: int) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(20):
        try:
            with opener.open(f"http://127.0.0.1:{port}/__router_metrics", timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:  # a worker that is replaced
            time.sleep(0.1)
    raise SystemExit("the router does not answer")


def _books(port: int, log: Path) -> Books:
    lines = torn = 0
    for path in log.parent.glob(f"{log.stem}*"):
        with path.open("rb") as file:
            for line in file:
                lines += 1
                torn += not _is_whole(line)
    metrics = _metrics(port)
    return Books(metrics["total_requests"] if not metrics["in_flight"] else -1, lines, torn)


def _is_whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["status"] > 0
    except (ValueError, KeyError, TypeError):
        return False


def report_books(bench: Bench, lines: int) -> None:
    """One router, as long as it takes."""
    folder = bench.folder / "books"
    folder.mkdir()
    log = folder / "access.jsonl"
    rotations, reloads, workers = (bench.count(name) for name in ("--rotations", "--reloads", "--workers"))
    settings = {"TRAFFIC_ROUTER_ACCESS_LOG": str(log)}
    with (
        run_origin(bench.folder / "books-origin", bench.cores) as origin,
        router(folder, origin.port, bench.cores.proxy, workers, settings) as server,
    ):
        books = keep_books(server, log, lines, rotations, reloads)
    by = "logrotate" if LOGROTATE else "renaming"
    print(f"{rotations} rotations by {by}, {reloads} reloads, {workers} workers")
    print(f"  requests {books.requests:,}, lines {books.lines:,}, torn {books.torn}", flush=True)
    if not books.are_right:
        raise SystemExit("the books do not balance")


def run(bench: Bench) -> None:
    """Both."""
    if bench.options["--rounds"] != "0":
        report_serving(bench)
    if bench.options["--lines"] != "0":
        report_books(bench, bench.count("--lines"))
