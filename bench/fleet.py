"""What a fleet of many agents costs: from a deploy's begin to the last switch, and etcd's requests.

Usage: bench-fleet [--agents=N] [--rounds=N]

Options:
  --agents=N  agents, without applications [default: 100]
  --rounds=N  deploys [default: 5]

One etcd on this machine; the agents are threads of four processes, each with a connection of its own, and what they
start is nothing. The first deploy is not counted. At rest is taken over ten seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from app.fleet.coordinator import Coordinator, Seen
from app.fleet.duty import Duty
from app.fleet.etcd import Etcd
from app.fleet.etcd_gateway import EtcdAccess, Gateway
from app.fleet.fleet_store import StoreUnreachable
from app.fleet.leading import Asked
from app.fleet.node_memory import NodeMemory
from app.fleet.records import Initiator, RolloutPhase, Sample, Wanted
from bench.accounting import cpu_seconds
from bench.benchmark import Bench
from bench.table import figure, render_table

__all__ = ["run"]

ROOT: Final = "/bench/fleet/"
PROCESSES: Final = 4
REST_S: Final = 10.0
BEAT_S: Final = 5.0
LOOK_S: Final = 3.0


class Hands:
    """Those of a node on which everything is there at once."""

    evidence: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._active: str | None = "old"

    def active(self) -> str | None:
        return self._active

    def prepare(self, wanted: Wanted) -> str | None:
        return wanted.origin

    def adopt(self, wanted: Wanted, record: str | None, *, is_new: bool) -> str | None:
        self._active = record or wanted.origin
        return self._active

    def take_back(self) -> None:
        """Nothing was started."""

    def hold(self, seconds: float) -> None:
        """Nobody asks."""

    def resume(self) -> None:
        """Nobody waits."""

    def left(self) -> int:
        return 0

    def sample(self, seconds: float) -> Sample | None:
        return None


def run(bench: Bench) -> None:
    """Some deploys, then a rest."""
    agents = bench.count("--agents")
    with etcd(bench.folder) as (endpoint, pid):
        workers = [
            multiprocessing.get_context("spawn").Process(target=run_agents, args=(endpoint, share), daemon=True)
            for share in (range(first, agents, PROCESSES) for first in range(PROCESSES))
        ]
        for worker in workers:
            worker.start()
        try:
            store = Etcd(Gateway(EtcdAccess((endpoint,))), ROOT)
            while len(store.read("nodes/").entries) < agents:
                time.sleep(0.1)
            rounds = [deploy(store, number) for number in range(bench.count("--rounds") + 1)][1:]
            pids = [worker.pid for worker in workers if worker.pid is not None]
            before = requests(endpoint), cpu_seconds(pid), sum(map(cpu_seconds, pids))
            time.sleep(REST_S)
            after = requests(endpoint), cpu_seconds(pid), sum(map(cpu_seconds, pids))
        finally:
            for worker in workers:
                worker.kill()
    phases = ("all are ready", "committed", "all have switched", "done")
    rows = [
        [name, *(figure(it, 2) for it in (min(at), statistics.median(at), max(at)))]
        for name, at in zip(phases, zip(*rounds, strict=True), strict=True)
    ]
    print(render_table([f"{agents} agents, seconds since the begin", "best", "median", "worst"], rows))
    asked, etcds, theirs = (b - a for a, b in zip(before, after, strict=True))
    print(
        f"At rest, an agent: {asked / REST_S / agents:.2f} requests a second, "
        f"{100 * theirs / REST_S / agents:.2f} % of a core"
    )
    print(f"At rest, etcd: {100 * etcds / REST_S:.1f} % of a core for all of them")


def deploy(store: Etcd, number: int) -> tuple[float, ...]:
    """One deploy; when the phases came, in seconds since its begin."""
    began = time.monotonic()
    at: dict[str, float] = {}

    def tell(seen: Seen) -> None:
        stages = {str(it.stage) for node in seen.rollout.nodes if (it := seen.fleet.progress(seen.rollout.id, node))}
        is_whole = len(seen.fleet.keys_of(seen.rollout.id)) == len(seen.rollout.nodes)
        now = time.monotonic() - began
        if seen.rollout.phase is RolloutPhase.PREPARE and is_whole and stages == {"ready"}:
            at.setdefault("ready", now)
        if seen.rollout.phase is RolloutPhase.COMMIT:
            at.setdefault("committed", now)
            at.setdefault("ready", now)
            if stages <= {"switched", "drained"}:
                at.setdefault("switched", now)

    ids = count()
    coordinator = Coordinator(store, Initiator("bench", time.time()), tell, lambda: f"{number:04}-{next(ids)}")
    _, end = coordinator.deploy(Asked(Wanted("", f"r{number}")))
    if not end.is_done:
        raise SystemExit(f"deploy {number} came to nothing: {end.note}")
    done = time.monotonic() - began
    return at["ready"], at["committed"], at.get("switched", done), done


def run_agents(endpoint: str, numbers: range) -> None:
    """A process with some agents."""
    threads = [threading.Thread(target=run_agent, args=(endpoint, f"n{number:03}")) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_agent(endpoint: str, node: str) -> None:
    """The loop of one agent: its beat, its duty, and a look at everything."""
    store = Etcd(Gateway(EtcdAccess((endpoint,))), ROOT)
    with ThreadPoolExecutor(1) as work:
        duty = Duty(node, Hands(), NodeMemory(), lambda _: None, work)
        lease, beaten, said = store.grant(60), 0.0, -1
        while True:
            try:
                now = time.monotonic()
                if now >= beaten + BEAT_S or said != duty.memory.applied:
                    beaten, said = now, duty.memory.applied
                    store.keep(lease)
                    store.change((), {f"nodes/{node}": json.dumps({"epoch": said})}, lease=lease)
                revision = store.read("").revision
                if not duty.step(store):
                    duty.wait(store, revision, LOOK_S)
            except StoreUnreachable:
                time.sleep(0.1)


@contextmanager
def etcd(folder: Path) -> Iterator[tuple[str, int]]:
    """An etcd of one member: where it is, and its pid."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        client, peer = (f"http://127.0.0.1:{it.getsockname()[1]}" for it in (one, other))
    command = [
        *(
            "etcd",
            "--data-dir",
            str(folder / "etcd"),
            "--listen-client-urls",
            client,
            "--advertise-client-urls",
            client,
        ),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        store = Etcd(Gateway(EtcdAccess((client,))), ROOT)
        for _ in range(200):
            try:
                store.read("")
                break
            except StoreUnreachable:
                time.sleep(0.1)
        yield client, process.pid
    finally:
        process.kill()
        process.wait()


def requests(endpoint: str) -> int:
    """How many requests etcd has begun, by its metrics."""
    with urlopen(f"{endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    begun = (line for line in lines if line.startswith("grpc_server_started_total"))
    return sum(round(float(line.rpartition(" ")[2])) for line in begun)
