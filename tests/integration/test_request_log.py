"""The access log of a real router: rotated by the real logrotate, over reloads and kills, and on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.log import keep_books
from bench.processes import Server
from tests.support.mounts import mounted, needs_root
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import running_pair
from tests.support.router_process import ROOT, RouterProcess, running_router
from tests.support.waiting import wait_until

GET = b"GET /a HTTP/1.1\r\nHost: shop.example.org\r\n\r\n"

LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")

SAMPLE = ROOT / "docs" / "how-to" / "logrotate" / "traffic-router"


def whole_lines(*paths: Path) -> list[dict[str, object]]:
    """The lines of files, each of which is one object."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def ask(router: RouterProcess, count: int) -> None:
    with router.connect() as client:
        for _ in range(count):
            assert client.ask(GET).status == 200


@pytest.fixture
def quick(upstream: RawUpstream) -> RawUpstream:
    upstream.answers(reply(b"ok"))
    return upstream


def test_every_request_has_its_line_over_rotations_and_reloads(tmp_path: Path, quick: RawUpstream) -> None:
    with running_router(tmp_path / "router", quick.port, workers=2) as router:
        server = Server("router", router.port, router.master_pid)
        books = keep_books(server, router.access_log_file, lines=3000, rotations=5, reloads=2)
    assert books.are_right, books
    assert books.lines >= 3000


def test_graceful_stop_leaves_no_line_unwritten(tmp_path: Path, quick: RawUpstream) -> None:
    with running_router(tmp_path, quick.port) as router:
        ask(router, 20)
        assert router.stop() == 0
        assert len(whole_lines(router.access_log_file)) == 20


def test_line_comes_within_about_a_second_without_further_requests(tmp_path: Path, quick: RawUpstream) -> None:
    with running_router(tmp_path, quick.port) as router:
        ask(router, 1)
        wait_until(lambda: len(router.access_log()) == 1, "the line", 5)


def test_killed_worker_leaves_whole_lines(tmp_path: Path, quick: RawUpstream) -> None:
    with running_router(tmp_path, quick.port) as router:
        ask(router, 50)
        os.kill(router.worker_pids[0], signal.SIGKILL)
        wait_until(lambda: "was sent SIGKILL" in router.log or len(router.worker_pids) == 1, "another worker")
        wait_until(lambda: _answers(router), "the next worker")
        router.stop()
        assert len(whole_lines(router.access_log_file)) <= 51


def _answers(router: RouterProcess) -> bool:
    try:
        return router.ask(GET).status == 200
    except (OSError, AssertionError):
        return False


# --- a full disk ----------------------------------------------------------------------------------------------


def test_full_disk_costs_lines_and_no_request_and_is_told(tmp_path: Path) -> None:
    with running_pair(tmp_path, access_log="/dev/full") as (router, upstream):
        upstream.answers(reply(b"ok"))
        ask(router, 10)
        wait_until(lambda: router.metrics()["log_fault"], "the fault in the metrics")
        assert router.log.count("cannot be written: No space left on device; lines are lost, requests are not") == 1
        assert router.metrics()["lost_log_lines"] == 0, "they wait"
        scraped = router.ask(b"GET /__router_metrics?format=prometheus HTTP/1.1\r\nHost: r\r\n\r\n").text
        assert "traffic_router_lost_log_lines_total 0.0" in scraped
        assert "traffic_router_log_fault 1.0" in scraped
        page = router.ask(b"GET /monitoring HTTP/1.1\r\nHost: r\r\n\r\n").text
        assert "Access log: a worker cannot write it" in page
        reload_and_stop(router)


@needs_root
def test_lines_wait_while_a_real_disk_is_full_and_none_is_lost_or_torn(tmp_path: Path, quick: RawUpstream) -> None:
    with mounted(tmp_path / "disk", "size=256k") as disk:
        log, filler = disk / "access.jsonl", disk / "filler"
        filler.write_bytes(bytes(200 << 10))
        with running_router(tmp_path / "router", quick.port, workers=2, access_log=log) as router:
            sent = 0
            while not router.metrics()["log_fault"]:
                ask(router, 25)
                sent += 25
                assert sent < 2000, "50 KiB are not full"
            for _ in range(10):
                ask(router, 25)
            assert router.log.count("cannot be written: No space left on device; lines are lost, requests are not") <= 2
            assert len(whole_lines(log)) < sent + 250, "half a line was taken back"

            filler.unlink()
            ask(router, 10)
            wait_until(lambda: not router.metrics()["log_fault"], "it to be written again")
            assert "is written again; 0 lines were lost" in router.log
            router.stop()
            assert len(whole_lines(log)) == sent + 260


def reload_and_stop(router: RouterProcess) -> None:
    """What waits when the worker ends is lost, and counted."""
    pids = router.worker_pids
    router.reload()
    wait_until(lambda: not set(pids) & set(router.worker_pids), "the old worker's end")
    assert router.metrics()["lost_log_lines"] == 10


# --- logrotate ------------------------------------------------------------------------------------------------


@pytest.fixture
def rotated(tmp_path: Path, quick: RawUpstream) -> Iterator[tuple[RouterProcess, Path]]:
    """A router whose access log the sample file rotates."""
    with running_router(tmp_path / "site" / ".local_context", quick.port, workers=2) as router:
        (router.folder / "logs").mkdir()
        (router.folder / "router.pid").write_text(str(router.master_pid))
        text = SAMPLE.read_text().replace("/opt/traffic-router", str(tmp_path / "site"))
        text = text.replace("    su traffic-router traffic-router\n", "")
        sample = tmp_path / "sample"
        sample.write_text(text)
        sample.chmod(0o644)
        yield router, sample


@pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not here")
def test_sample_file_has_logrotate_rotate_without_a_lost_line(rotated: tuple[RouterProcess, Path]) -> None:
    router, sample = rotated
    assert LOGROTATE is not None
    for turn in range(1, 4):
        ask(router, 20)
        wait_until(lambda: len(router.access_log()) >= 20, "lines: an empty file is not rotated")
        subprocess.run(
            [LOGROTATE, "--force", "--state", str(sample.with_suffix(".state")), str(sample)], check=True, timeout=60
        )
        wait_until(router.access_log_file.exists, "the new file")
        ask(router, 20)
        wait_until(partial(has_lines, router, 40 * turn), f"all lines of turn {turn}")
    assert sorted(path.name for path in router.folder.glob("access.jsonl*")) == [
        *("access.jsonl", "access.jsonl.1", "access.jsonl.2.gz", "access.jsonl.3.gz"),
    ]


def has_lines(router: RouterProcess, count: int) -> bool:
    """Whether all files together have so many lines, those too that are compressed."""
    names = [str(path) for path in router.folder.glob("access.jsonl*")]
    text = subprocess.run(["zcat", "-f", *names], check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["status"] for line in text.splitlines()] == [200] * count


# --- standard output ------------------------------------------------------------------------------------------


def test_lines_in_standard_output_are_beside_the_router_s_own(tmp_path: Path, quick: RawUpstream) -> None:
    with running_router(tmp_path, quick.port, access_log="-") as router:
        ask(router, 5)
        wait_until(lambda: router.log.count('"status": 200') == 5, "the lines in standard output", 5)
