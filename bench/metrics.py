"""What the metrics cost: `python bench/metrics.py [ROUNDS]`, interleaved, on this machine.

1. Recording: CPU time of one request's `start` and `finish` on a slot of a real file, beside that of a router
   with metrics off, which only keeps what a drain needs.
2. Serving: CPU time of a whole router worker per request, metrics on against off. Two routers, one worker each,
   take the same load in turns (on off, off on, …), so that whatever else the machine does hits both; each round
   with two new ones. Needs a quiet machine: the difference is smaller than what a busy neighbour makes.
3. Reading: what a snapshot, a window, the history and a scrape take.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.metrics import prometheus  # noqa: E402  # the path must be set first
from app.metrics.exposition import as_json  # noqa: E402
from app.metrics.shared import SharedMetrics, monotonic_us  # noqa: E402
from app.metrics.slot import SlotWriter  # noqa: E402

RECORDED = 200_000
CONNECTIONS = 16
REQUESTS = 3_000  # of each router in each turn
TURNS = 6  # of each pair of routers
REQUEST = b"GET /api/items/12345?page=2 HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: text/plain\r\n\r\nHello world\n"


# --- recording ----------------------------------------------------------------------------------------------


def record_counted(writer: SlotWriter, now_us: int) -> None:
    """What a worker does for each request."""
    for number in range(RECORDED):
        us = number % 15_000  # spread over the buckets, as real durations are, up to 16 ms
        row = writer.start(0, b"GET", b"/api/items/12345?page=2", now_us)
        writer.finish(row, 0, 200, 0, 0, 1234, 1000 + us, 900 + us, 800 + us)


def record_slow(writer: SlotWriter, now_us: int) -> None:
    """The same for requests so slow that their buckets are not looked up but computed."""
    for number in range(RECORDED):
        us = 100_000 + number
        row = writer.start(0, b"GET", b"/api/items/12345?page=2", now_us)
        writer.finish(row, 0, 200, 0, 0, 1234, 1000 + us, 900 + us, 800 + us)


def record_claimed(writer: SlotWriter, now_us: int) -> None:
    """What a worker with `metrics_enabled=False` does for each request."""
    for _ in range(RECORDED):
        writer.unclaim(writer.start(0, b"GET", b"/api/items/12345?page=2", now_us), 0)


def cpu_us(work: Callable[[], None]) -> float:
    """The CPU time of a piece of work in µs."""
    before = time.process_time()
    work()
    return (time.process_time() - before) * 1e6


def report_recording(writer: SlotWriter, rounds: int) -> None:
    """Best and median over rounds that alternate between them."""
    works = {
        "metrics on": record_counted,
        "metrics on, requests of 100 ms and more": record_slow,
        "metrics off": record_claimed,
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(cpu_us(lambda work=work: work(writer, monotonic_us())) / RECORDED)
    print("Recording one request: start + finish          best     median", flush=True)
    for name, costs in found.items():
        print(f"  {name:<40} {min(costs):6.2f} µs {statistics.median(costs):6.2f} µs", flush=True)


# --- reading ------------------------------------------------------------------------------------------------


def report_reading(metrics: SharedMetrics) -> None:
    """One reader's CPU time for each thing it may ask for."""
    metrics.try_lead()
    metrics.fold()
    reads: dict[str, Callable[[], object]] = {
        "snapshot": metrics.snapshot,
        "snapshot as JSON": lambda: json.dumps(as_json(metrics.snapshot())),
        "snapshot for Prometheus": lambda: prometheus.render(metrics.snapshot(), "prometheus"),
        "snapshot(window_s=60)": lambda: metrics.snapshot(60),
        "history(600)": lambda: metrics.history(600),
        "history(21600)": lambda: metrics.history(21_600),
        "in_flight": lambda: metrics.in_flight("blue"),
    }
    print("Reading                                    best")
    for name, read in reads.items():
        print(f"  {name:<36} {min(cpu_us(lambda read=read: read()) for _ in range(20)) / 1000:7.2f} ms")


# --- serving ------------------------------------------------------------------------------------------------


def answer_for_ever(listener: socket.socket) -> None:
    """An upstream that costs next to nothing: whatever arrives is one request."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if not answered(connection):
                selector.unregister(connection)
                connection.close()


def answered(connection: socket.socket) -> bool:
    """Whether there was a request to answer; not when the router closed or reset the connection."""
    try:
        if connection.recv(65536):
            connection.sendall(ANSWER)
            return True
    except ConnectionError:
        pass
    return False


@contextmanager
def upstream() -> Iterator[int]:
    """An upstream in a process of its own; gives its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        pid = os.fork()
        if not pid:
            try:
                answer_for_ever(listener)
            finally:
                os._exit(1)
        try:
            yield listener.getsockname()[1]
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


class Router:
    """A real router with one worker, and the load for it."""

    def __init__(self, folder: Path, upstream_port: int, metrics_enabled: bool) -> None:
        folder.mkdir()
        state = {"active_version": "blue", "versions": {"blue": {"port": upstream_port}}}
        (folder / "bg_state.json").write_text(json.dumps(state))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        settings = {
            "TRAFFIC_ROUTER_STATE_FILE": str(folder / "bg_state.json"),
            "TRAFFIC_ROUTER_MAIN_PORT": str(self.port),
            "TRAFFIC_ROUTER_WORKERS": "1",
            "TRAFFIC_ROUTER_METRICS_ENABLED": str(metrics_enabled).lower(),
        }
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("TRAFFIC_ROUTER_")}
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "app:wsgi"]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=inherited | settings, stdout=log, stderr=log)
        self.cpu_us_per_request: list[float] = []

    def wait_until_it_serves(self) -> None:
        """Raises TimeoutError when it does not within 30 s."""
        deadline = time.monotonic() + 30
        while not self._serves():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the router on port {self.port} does not serve")
            time.sleep(0.1)

    def _serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(REQUEST)
                return connection.recv(65536).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def take_load(self) -> None:
        """Sends `REQUESTS` requests, `CONNECTIONS` at a time, and notes the worker's CPU time for each."""
        [worker] = psutil.Process(self.process.pid).children()
        before_ns = on_cpu_ns(worker.pid)
        send_load(self.port)
        self.cpu_us_per_request.append((on_cpu_ns(worker.pid) - before_ns) / 1000 / REQUESTS)

    def stop(self) -> None:
        """Ends the router and waits until it is gone."""
        self.process.terminate()
        self.process.wait()


def on_cpu_ns(pid: int) -> int:
    """How long a process's main thread was on a CPU; `cpu_times` counts in steps of 10 ms."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def send_load(port: int) -> None:
    """Keeps `CONNECTIONS` requests going until `REQUESTS` are answered."""
    selector = selectors.DefaultSelector()
    with ExitStack() as stack:
        stack.callback(selector.close)
        left = REQUESTS
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ)
            connection.sendall(REQUEST)
        while left > 0:
            for key, _ in selector.select():
                client = key.fileobj
                assert isinstance(client, socket.socket)
                received = client.recv(65536)
                assert received.startswith(b"HTTP/1.1 200"), received
                left -= 1
                client.sendall(REQUEST)


def serve_in_turns(folder: Path, upstream_port: int) -> dict[str, list[float]]:
    """CPU time per request of two fresh routers, "on" and "off", over `TURNS` turns of each."""
    with ExitStack() as stack:
        routers = {name: Router(folder / name, upstream_port, name == "on") for name in ("on", "off")}
        for router in routers.values():
            stack.callback(router.stop)
        for router in routers.values():
            router.wait_until_it_serves()
            send_load(router.port)  # to warm it up
        for turn in range(TURNS):
            for router in sorted(routers.values(), key=lambda router: router.port, reverse=bool(turn % 2)):
                router.take_load()
        return {name: router.cpu_us_per_request for name, router in routers.items()}


def report_serving(rounds: int) -> None:
    """Metrics on against off.

    Two processes of the very same program differ by a few per cent for as long as they live (where their memory
    happens to lie), so every round starts new ones, and the median is taken over rounds.
    """
    found: dict[str, list[float]] = {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as folder, upstream() as port:
        for number in range(rounds):
            Path(folder, str(number)).mkdir()
            for name, costs in serve_in_turns(Path(folder, str(number)), port).items():
                found[name].append(statistics.median(costs))
    ratios = [100 * (on / off - 1) for on, off in zip(found["on"], found["off"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print("Serving one request, whole router          median    requests per CPU second")
    for name, costs in found.items():
        median = statistics.median(costs)
        print(f"  metrics {name:<28} {median:7.1f} µs {1e6 / median:9,.0f}")
    print(f"  metrics on costs {middle:+.1f} % (half of {rounds} rounds: {low:+.1f} … {high:+.1f} %)")


def main() -> None:
    """All three."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        metrics = SharedMetrics.create_or_attach(Path(folder, "router_metrics.mmap"), 16)
        writer = metrics.claim_slot(os.getpid())
        report_recording(writer, max(rounds // 4, 5))
        report_serving(rounds)
        report_reading(metrics)
        writer.close()
        metrics.close()


if __name__ == "__main__":
    main()
