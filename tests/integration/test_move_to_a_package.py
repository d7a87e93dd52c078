"""From a checkout to a package, and back: the one that runs is replaced under load, on the same home."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.hammering import Hammering
from tests.support.installed import Installed
from tests.support.raw_client import ask
from tests.support.router_process import ROOT, free_port
from tests.support.upgraded import has_ended

pytestmark = pytest.mark.timeout(300)

GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"

APPLICATION = (
    f"{shlex.quote(sys.executable)} -m gunicorn --no-control-socket -k gthread --threads 8 --keep-alive 75 "
    f"--pythonpath {shlex.quote(str(ROOT))} -b 127.0.0.1:{{port}} tests.support.apps.plain_app:app"
)


@pytest.fixture
def port(project: Path, installed: Installed, tmp_path: Path) -> Iterator[int]:
    """Of a checkout's router that runs, with blue behind it; the settings and the state are in the checkout."""
    number = free_port()
    (project / ".venv").symlink_to(sys.prefix)
    (project / "traffic_router.toml").write_text(
        f"main_port = {number}\nworkers = 2\ngraceful_timeout = 10\n"
        f"[app]\ncommand = {json.dumps(APPLICATION)}\ndir = {json.dumps(str(tmp_path))}\nhealthy_after = 1\n"
        f"blue_port = {free_port()}\ngreen_port = {free_port()}\n"
    )
    try:
        typed(project, "blue_green_deploy", "start", "blue")
        typed(project, "traffic_router", "start", "--daemon")
        yield number
    finally:
        installed.run("traffic_router", "stop", home=project)
        for version in ("blue", "green"):
            installed.run("blue_green_deploy", "stop", version, "--force", home=project)


def typed(checkout: Path, program: str, *words: str) -> str:
    """What a checkout's own command prints; it has to do well."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRAFFIC_ROUTER_")}
    command = [str(checkout / "bin" / program), *words]
    done = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def master(home: Path) -> psutil.Process:
    return psutil.Process(int((home / ".local_context" / "router.pid").read_text()))


def test_package_takes_over_from_a_checkout_and_back_without_a_lost_request(
    port: int, project: Path, installed: Installed
) -> None:
    before = master(project).pid
    with Hammering(port, clients=2, kept=(1, 2)) as clients:
        warned = installed.must("traffic_router", "reload", home=project)
        assert (
            f"The router runs {project}, and this is {installed.root}: traffic_router upgrade moves it here" in warned
        )
        moved = installed.must("traffic_router", "upgrade", home=project)
        assert f"   It runs {installed.root} now, and ran {project}\n" in moved
        assert has_ended(before)
        assert str(installed.bin / "python") in master(project).cmdline()[0]
        assert master(project).cwd() == str(project)
        installed.must("blue_green_deploy", "deploy", "--release=r2", home=project)
        assert ask(port, GET).body == b"green"
        installed.must("blue_green_deploy", "rollback", home=project)
        installed.must("traffic_router", "upgrade", home=project)  # as after an update of the package
        back = typed(project, "traffic_router", "upgrade")
        assert f"   It runs {project} now, and ran {installed.root}\n" in back
        typed(project, "blue_green_deploy", "switch", "green")

    assert clients.failures == []
    assert len(clients.answers) > 100
