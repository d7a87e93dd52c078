"""Workers that are killed, hang, grow old or run into a limit: what that costs, and what it does not."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream, answering, reply
from tests.support.router_farm import Pair, running_pair
from tests.support.router_process import RouterProcess, Settings, running_router
from tests.support.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"


SPINNING = """
exec(compile(open("gunicorn.conf.py").read(), "gunicorn.conf.py", "exec"))
_start = post_worker_init


def post_worker_init(worker):
    import gevent

    _start(worker)
    gevent.spawn(_spin_when_told)


def _spin_when_told():
    import gevent

    while not os.path.exists(f"{folder}/spin.{os.getpid()}"):
        gevent.sleep(0.05)
    open(f"{folder}/spins.{os.getpid()}", "w").close()
    while True:
        pass
"""
"""Settings of a router whose worker PID loops for ever once there is a file `spin.PID`."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A router whose two workers are looked after with a short time limit."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "conf.py").write_text(SPINNING.replace("{folder}", str(folder)))
    arguments = ("-c", str(folder / "conf.py"), "--timeout", "6")  # a worker boots in less, on a busy machine too
    with running_pair(folder, arguments=arguments, workers=2, graceful_timeout=10) as (router, upstream):
        wait_until(lambda: heartbeats(router) == 2, "two workers")
        yield router, upstream


def heartbeats(router: RouterProcess) -> int:
    """How many workers serve, by the metrics."""
    workers = router.metrics()["workers"]
    assert isinstance(workers, list)
    return len(workers)


def requests_of(router: RouterProcess) -> int:
    return int(str(router.metrics()["total_requests"]))


def wait_for_replacement(router: RouterProcess, victim: int) -> None:
    wait_until(
        lambda: victim not in router.worker_pids and len(router.worker_pids) == 2 and heartbeats(router) == 2,
        "a new worker",
        60,
    )


def clients_of(router: RouterProcess) -> dict[int, list[RawClient]]:
    """Kept connections, by the pid of the worker that serves them; a few for each of the two."""
    by_worker: dict[int, list[RawClient]] = {}
    for _ in range(100):
        client = router.connect()
        client.ask(GET)
        by_worker.setdefault(worker_of(router, client), []).append(client)
        if len(by_worker) == 2 and min(map(len, by_worker.values())) >= 2:
            return by_worker
    raise AssertionError(f"all connections at {list(by_worker)}")


def worker_of(router: RouterProcess, client: RawClient) -> int:
    """The worker that holds a client's connection."""
    port = client.address[1]
    for pid in router.worker_pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(c.raddr and c.raddr.port == port for c in psutil.Process(pid).net_connections("tcp")):
                return pid
    raise AssertionError(f"no worker holds the connection from port {port}")


def test_killed_worker_takes_only_its_own_requests_with_it(router: RouterProcess, upstream: RawUpstream) -> None:
    clients = clients_of(router)
    victim, other = clients
    go_on = threading.Event()

    seen = len(upstream.exchanges)
    upstream.answers(reply(b"late"), after=go_on)
    for client in (clients[victim][0], clients[other][0]):
        client.send(GET)
    wait_until(lambda: len(upstream.exchanges) >= seen + 2, "both requests in flight")
    os.kill(victim, signal.SIGKILL)
    assert clients[victim][0].how_it_ends() in {"closed", "reset"}
    go_on.set()
    assert clients[other][0].read_response().body == b"late"
    upstream.answers(reply(b"blue"))
    assert clients[other][1].ask(GET).body == b"blue"
    assert router.ask(GET).status == 200
    wait_for_replacement(router, victim)
    for client in sum(clients.values(), []):
        client.wire.close()


def test_kills_under_load_lose_no_more_than_what_was_in_flight(router: RouterProcess) -> None:
    before = requests_of(router)
    with Hammering(router.port, clients=2) as clients:
        wait_until(lambda: requests_of(router) > before + 50, "50 requests")
        victim = router.worker_pids[0]
        os.kill(victim, signal.SIGKILL)
        wait_for_replacement(router, victim)
        after = requests_of(router)
        wait_until(lambda: requests_of(router) > after + 50, "50 more")
    assert len(clients.failures) <= 2, "two clients have two requests in flight at most"


def test_killed_master_costs_no_request_in_flight(blue: RawUpstream, tmp_path: Path) -> None:
    """The workers have lost nobody but who would start others."""
    with running_router(tmp_path, blue.port, workers=2) as router:
        workers = [psutil.Process(pid) for pid in router.worker_pids]
        go_on = threading.Event()
        blue.answers(reply(b"late"), after=go_on)
        clients = [router.connect() for _ in range(4)]
        seen = len(blue.exchanges)
        for client in clients:
            client.send(GET)
        wait_until(lambda: len(blue.exchanges) == seen + 4, "the requests")
        router.process.kill()
        wait_until(lambda: router.log.count("The master is gone") == 2, "both workers to notice")
        go_on.set()
        assert [client.read_response().body for client in clients] == [b"late"] * 4
        assert [client.how_it_ends() for client in clients] == ["closed"] * 4
        for client in clients:
            client.wire.close()
        assert psutil.wait_procs(workers, timeout=20)[1] == []


def kill_worker(router: RouterProcess) -> None:
    os.kill(router.worker_pids[0], signal.SIGKILL)


@pytest.mark.parametrize("content", [None, b"{"], ids=["gone", "torn"])
def test_worker_that_begins_without_a_state_file_has_the_last_good_state(
    blue: RawUpstream, tmp_path: Path, content: bytes | None
) -> None:
    """Killed, or renewed by a reload: it is no reason for everybody's 503."""
    with running_router(tmp_path, blue.port, workers=1) as router:
        if content is None:
            router.state_file.unlink()
        else:
            router.state_file.write_bytes(content)
        for how in (kill_worker, RouterProcess.reload):
            workers = [psutil.Process(pid) for pid in router.worker_pids]
            how(router)
            assert psutil.wait_procs(workers, timeout=30)[1] == []
            assert router.ask(GET).body == b"blue"


@pytest.mark.parametrize("how", ["stopped", "busy"])
def test_hung_worker_is_found_and_replaced(router: RouterProcess, how: str) -> None:
    clients = clients_of(router)
    victim, other = clients
    if how == "stopped":
        os.kill(victim, signal.SIGSTOP)
    else:
        (router.folder / f"spin.{victim}").touch()
        wait_until((router.folder / f"spins.{victim}").exists, "the loop")  # or it might take a request first
    with Hammering(router.port, clients=1) as hammering:
        wait_for_replacement(router, victim)
    assert clients[other][0].ask(GET).body == b"ok"
    assert clients[victim][0].how_it_ends() in {"closed", "reset"}
    assert hammering.failures == []
    assert f"WORKER TIMEOUT (pid:{victim})" in router.log
    for client in sum(clients.values(), []):
        client.wire.close()


@pytest.mark.alone
def test_worker_is_replaced_after_max_requests_without_a_lost_one(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, workers=1, max_requests=200) as router:
        first = router.worker_pids
        with Hammering(router.port, clients=2) as clients:
            wait_until(lambda: first[0] not in router.worker_pids and router.worker_pids, "a new worker", 30)
        assert clients.failures == []
        assert max(end - start for start, end, _ in clients.answers) < 0.5
        wait_until(lambda: requests_of(router) == len(clients.answers), "balanced counters")
        assert "asks to be replaced" in router.log


def test_worker_that_asks_to_go_is_not_taken_for_one_that_never_came_to_serve(
    blue: RawUpstream, tmp_path: Path
) -> None:
    """Once it is older than gunicorn's timeout, it would be killed for that, its requests with it."""
    with running_router(tmp_path, blue.port, workers=1, max_requests=20, arguments=("--timeout", "4")) as router:
        worker = psutil.Process(router.worker_pids[0])
        wait_until(lambda: time.time() - worker.create_time() > 5, "a worker older than the timeout", 20)
        with Hammering(router.port, clients=2) as clients:
            wait_until(lambda: worker.pid not in router.worker_pids and router.worker_pids, "a new worker", 30)
        assert clients.failures == []
        assert "WORKER TIMEOUT" not in router.log


def test_worker_that_goes_by_age_finishes_what_takes_long(blue: RawUpstream, tmp_path: Path) -> None:
    """Longer than `graceful_timeout`, which is for a stop that somebody waits for."""
    with running_router(tmp_path, blue.port, workers=1, max_requests=5, graceful_timeout=1) as router:
        go_on = threading.Event()

        blue.answers_in_turn(answering(reply(b"late"), after=go_on), answering(reply(b"blue")))
        first = router.worker_pids[0]
        with router.connect() as client:
            client.send(GET)
            wait_until(lambda: blue.exchanges, "the request")
            for _ in range(10):
                router.ask(GET)
            wait_until(lambda: len(router.worker_pids) == 2, "the next worker", 20)
            assert not client.has_bytes(4)
            go_on.set()
            assert client.read_response().body == b"late"
        wait_until(lambda: first not in router.worker_pids, "the old worker's end", 20)


# --- limits ----------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(blue: RawUpstream, tmp_path: Path) -> Iterator[RouterProcess]:
    """One worker with room for four connections."""
    with running_router(tmp_path, blue.port, workers=1, max_connections=4, keepalive_timeout=4) as router:
        yield router


def hold_connections(router: RouterProcess, blue: RawUpstream, count: int, go_on: threading.Event) -> list[RawClient]:
    """So many connections with a request in flight."""

    blue.answers(reply(b"late"), after=go_on)
    clients = [router.connect() for _ in range(count)]
    for client in clients:
        client.send(GET)
    wait_until(lambda: len(blue.exchanges) >= count, "all requests in flight")
    return clients


def test_full_worker_says_so_at_once(narrow: RouterProcess, blue: RawUpstream) -> None:
    go_on = threading.Event()
    clients = hold_connections(narrow, blue, 4, go_on)
    for _ in range(3):
        answer = narrow.ask(GET)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"worker_full")
        assert answer.value(b"Retry-After") == b"1"
    assert narrow.log.count("connections are turned away: 4 connections are open in this worker") == 1
    go_on.set()
    for client in clients:
        assert client.read_response().body == b"late"
        client.wire.close()
    wait_until(lambda: narrow.ask(GET).status == 200, "room again")


def test_idle_connections_make_room_for_new_ones(narrow: RouterProcess) -> None:
    clients = [narrow.connect() for _ in range(4)]
    for client in clients:
        assert client.ask(GET).status == 200
    wait_until(lambda: narrow.ask(GET).status == 200, "room")
    for client in clients:
        client.wire.close()


def test_too_many_connections_of_one_client_are_logged(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, workers=1, max_client_connections=2) as router:
        with router.connect(), router.connect():
            answer = router.ask(GET)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (429, b"too_many_connections")
        assert "a connection is turned away: 127.0.0.1 holds 2 connections" in router.log


PATIENT: Settings = {"workers": 1, "health_check_interval": 3600, "keepalive_timeout": 3600}
"""A worker that opens nothing by itself, and to which no connection looks idle for long."""


def descriptors(pid: int) -> set[int]:
    return {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}


@contextlib.contextmanager
def without_descriptors(router: RouterProcess) -> Iterator[None]:
    """The router's one worker can open nothing more: its numbers are all in use up to the limit, which is lowered."""
    pid = router.worker_pids[0]

    def settled() -> set[int] | None:
        before = descriptors(pid)
        threading.Event().wait(0.3)  # what it opens for a moment, for a first health check say, is closed by then
        return before if before == descriptors(pid) else None

    taken = wait_until(settled, "a worker that opens and closes nothing")
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    with contextlib.ExitStack() as fillers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
        for _ in range(max(taken) + 3 - len(taken)):  # more than there is room for
            fillers.enter_context(router.connect())
        wait_until(lambda: "no connection can be accepted: Too many open files" in router.log, "no room for one more")
        yield
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def test_worker_without_descriptors_answers_503_and_does_not_spin(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, **PATIENT) as router:
        worker = psutil.Process(router.worker_pids[0])
        go_on = threading.Event()
        clients = hold_connections(router, blue, 4, go_on)
        with without_descriptors(router):
            waiting = [router.connect() for _ in range(5)]
            for client in waiting:
                client.send(GET)
            for client in waiting:
                answer = client.read_response()
                assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"out_of_descriptors")
                client.wire.close()
            before = worker.cpu_times()
            with router.connect() as silent, router.connect() as next_in_turn:
                assert silent.has_bytes(2), "who says nothing is answered as well"
                assert next_in_turn.has_bytes(5), "and holds nobody up for long"
            after = worker.cpu_times()
            assert after.user + after.system - before.user - before.system < 0.5
        go_on.set()
        for client in clients:
            assert client.read_response().body == b"late"
            client.wire.close()
        wait_until(lambda: router.ask(GET).status == 200, "service again")


def test_no_descriptor_for_the_version_is_503(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, **PATIENT, pool_idle_timeout=0) as router, router.connect() as client:
        assert client.ask(GET).status == 200
        with without_descriptors(router):
            answer = client.ask(GET)
            assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"out_of_descriptors")
        assert client.ask(GET).status == 200


def test_worker_that_is_told_to_end_before_it_serves_ends(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, graceful_timeout=300) as router:
        before = set(router.worker_pids)
        router.process.send_signal(signal.SIGTTIN)  # gunicorn's "one worker more"
        wait_until(lambda: set(router.worker_pids) - before, "another worker")
        router.process.terminate()
        assert router.process.wait(30) == 0
