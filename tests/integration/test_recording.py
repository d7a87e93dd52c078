"""`traffic_router record` beside a real router: workers hear of it, write, and stop, whoever ends the command."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment import own_environment
from tests.support.mounts import mounted, needs_root
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import ROOT, RouterProcess, running_router
from tests.support.waiting import wait_until

HOST = b"Host: shop.example.org\r\n"
GET = b"GET /api/a?token=SECRET HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def router(tmp_path: Path, upstream: RawUpstream) -> Iterator[RouterProcess]:
    upstream.answers(reply(b"ok"))
    with running_router(tmp_path / "router", upstream.port, workers=2) as router:
        yield router


class Command:
    """`traffic_router record`, while it runs."""

    def __init__(self, router: RouterProcess, *options: str, folder: Path | None = None) -> None:
        self.file = (folder or router.folder) / "out.jsonl"
        self._router = router
        command = [sys.executable, str(ROOT / "bin" / "traffic_router"), "record", "--path=/api/*", *options]
        command += [f"--output={self.file}", f"--state-file={router.state_file}"]
        environ = {**own_environment(), "TRAFFIC_ROUTER_METRICS_FILE": str(router.folder / "router_metrics.mmap")}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait_until_it_records(self) -> None:
        def has_begun() -> bool:
            self._router.ask(GET)
            return self.file.exists() and self.file.stat().st_size > 0

        wait_until(has_begun, "the first exchange", 20)

    def end(self, number: int) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=30)[0]

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


def test_exchanges_are_written_until_ctrl_c(router: RouterProcess) -> None:
    command = Command(router)
    command.wait_until_it_records()
    with router.connect() as client:
        client.ask(b"POST /api/b HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello")
        client.ask(b"GET /other HTTP/1.1\r\n" + HOST + b"\r\n")
    said = command.end(signal.SIGINT)
    assert command.process.returncode == 0, said
    assert str(command.file) in said
    assert stat.S_IMODE(command.file.stat().st_mode) == 0o600
    assert "SECRET" not in command.file.read_text()
    bodies = {one["request"]["target"]: (one["request"]["body"], one["response"]["body"]) for one in command.exchanges}
    assert bodies["/api/b"] == ("hello", "ok")
    assert "/other" not in bodies
    assert not (router.folder / "recording.json").exists()
    has_stopped(router, command)


def test_recording_ends_by_itself_though_its_command_was_killed(router: RouterProcess) -> None:
    command = Command(router, "--for=4")
    command.wait_until_it_records()
    command.end(signal.SIGKILL)
    assert (router.folder / "recording.json").exists()
    wait_until(lambda: router.log.count("exchanges are not recorded any more") == 2, "both workers' end", 20)
    has_stopped(router, command)


@needs_root
def test_full_disk_ends_the_recording_and_costs_no_request(
    tmp_path: Path, router: RouterProcess, upstream: RawUpstream
) -> None:
    upstream.answers(reply(b"x" * 1500))
    with mounted(tmp_path / "disk", "size=128k") as disk, ThreadPoolExecutor(4) as clients:
        command = Command(router, "--for=90", folder=disk)
        command.wait_until_it_records()
        while command.process.poll() is None:
            assert set(clients.map(lambda _: router.ask(GET).status, range(40))) == {200}
        assert command.process.returncode == 0
        assert "Nothing is recorded any more: there is no room" in command.process.communicate()[0]
        wait_until(lambda: router.log.count("not recorded any more") == 2, "both workers' end")
        assert "exchanges are not recorded any more: No space left on device" in router.log
        assert len(command.exchanges) > 10, "each a whole one"
        assert not (router.folder / "recording.json").exists()
        assert router.ask(GET).status == 200


def has_stopped(router: RouterProcess, command: Command) -> None:
    """Nothing is written any more, though requests come."""
    wait_until(lambda: router.log.count("not recorded any more") == router.log.count("are recorded into"), "the end")
    size = command.file.stat().st_size
    for _ in range(20):
        assert router.ask(GET).status == 200
    assert command.file.stat().st_size == size


def test_one_recording_at_a_time(router: RouterProcess) -> None:
    first = Command(router)
    first.wait_until_it_records()
    second = Command(router)
    said = second.process.communicate(timeout=30)[0]
    assert second.process.returncode == 1
    assert "is under way until" in said
    first.end(signal.SIGINT)


def test_streamed_answer_goes_on_streaming(router: RouterProcess, upstream: RawUpstream) -> None:
    command = Command(router)
    command.wait_until_it_records()
    upstream.handler = in_two_parts
    with router.connect() as client:
        client.send(GET)
        client.wire.read_head()
        began = time.monotonic()
        assert client.wire.read_exactly(8) == b"3\r\nabc\r\n"
        assert time.monotonic() - began < 1.5, "the second part comes two seconds later"
        assert client.wire.read_exactly(13) == b"3\r\ndef\r\n0\r\n\r\n"
    command.end(signal.SIGINT)
    assert command.exchanges[-1]["response"]["body"] == "abcdef"


def in_two_parts(exchange: Any) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    time.sleep(2)
    exchange.send(b"3\r\ndef\r\n0\r\n\r\n")
