"""The page `move-a-live-application.md`, followed on a real gunicorn that real clients ask all the while."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from app.state.model import VERSIONS
from tests.docs.pages import blocks
from tests.support.hammering import Hammering
from tests.support.raw_client import ask
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "how-to" / "move-a-live-application.md"
NGINX = shutil.which("nginx")
HAS_NAMESPACES = shutil.which("nft") is not None and not subprocess.call(
    ["unshare", "-rnm", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
)

GUNICORN = (
    f"{shlex.quote(sys.executable)} -m gunicorn -k gthread --threads 8 --keep-alive 75 --no-control-socket "
    f"--pythonpath {shlex.quote(str(ROOT))} -b 127.0.0.1:{{port}} tests.support.apps.plain_app:app"
)


class Move:
    """A live application on a port, and a folder with the page's settings for the router that it is to have."""

    def __init__(self, folder: Path, live_port: int, router_port: int, bind: str) -> None:
        self.folder, self.live_port, self.router_port = folder, live_port, router_port
        [settings] = [block.text for block in blocks(PAGE, "toml")]
        for old, new in {
            'bind = "0.0.0.0"': f'bind = "{bind}"\nmain_port = {router_port}\nworkers = 2',
            "gunicorn --bind 127.0.0.1:{port} --keep-alive 75 shop:app": GUNICORN,
            'dir = "/srv/shop/{release}"': f'dir = "{folder}"\ngreen_port = {free_port()}\nhealth_path = "/"',
            "blue_port = 8000": f"blue_port = {live_port}",
        }.items():
            assert old in settings
            settings = settings.replace(old, new)
        (folder / "traffic_router.toml").write_text(settings)

    def type(self, line: str) -> None:
        """A line of the page, as it stands there; it has to do well."""
        assert line in PAGE.read_text()
        program, *words = shlex.split(line)
        environ = {**os.environ, "TRAFFIC_ROUTER_HOME": str(self.folder)}
        done = subprocess.run([str(ROOT / program), *words], env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def live(self) -> Iterator[subprocess.Popen[bytes]]:
        """The application as it was before there was a router; what is left at the end is stopped."""
        command = shlex.split(GUNICORN.format(port=self.live_port).replace("127.0.0.1:", "0.0.0.0:"))
        with (self.folder / "live.log").open("wb") as log:
            environ = {**os.environ, "BG_VERSION": "live"}  # the application of the tests says it
            process = subprocess.Popen(command, cwd=self.folder, env=environ, stdout=log, stderr=log)
        try:
            wait_until(partial(answers, self.live_port), "the live application", 30)
            yield process
        finally:
            process.kill()
            process.wait()
            environ = {**os.environ, "TRAFFIC_ROUTER_HOME": str(self.folder)}
            stops = ("traffic_router stop", *(f"blue_green_deploy stop {name} --force" for name in VERSIONS))
            for program, *words in map(str.split, stops):
                subprocess.run([str(ROOT / "bin" / program), *words], env=environ, capture_output=True, timeout=60)


def answers(port: int) -> bool:
    try:
        return ask(port, b"GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n").status == 200
    except OSError:
        return False


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_behind_a_proxy_that_is_led_over(tmp_path: Path) -> None:
    assert NGINX is not None
    move, front = Move(tmp_path, free_port(), free_port(), "127.0.0.1"), free_port()
    configuration = tmp_path / "nginx.conf"

    def leads_to(port: int) -> None:
        places = "".join(
            f"{kind}_temp_path {tmp_path}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
            f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{front}; "
            f"location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; }} }} }}\n"
        )

    leads_to(move.live_port)
    with move.live() as live:
        nginx = subprocess.Popen([NGINX, "-e", str(tmp_path / "error.log"), "-c", str(configuration)])
        try:
            wait_until(partial(answers, front), "nginx", 20)
            # A reload of nginx closes kept connections, whatever is behind it.
            with Hammering(front, kept=(0,)) as clients:
                move.type("bin/traffic_router start --daemon")
                move.type("bin/blue_green_deploy switch blue")
                leads_to(move.router_port)
                nginx.send_signal(signal.SIGHUP)
                move.type("bin/blue_green_deploy deploy --release=r2")
                live.terminate()
                live.wait(20)
                move.type("bin/blue_green_deploy deploy --release=r2")  # the next one, on blue's port
            assert clients.failures == []
            assert len(clients.answers) > 100
        finally:
            nginx.terminate()
            nginx.wait(20)


@pytest.mark.skipif(not HAS_NAMESPACES, reason="network namespaces and nft are needed")
def test_clients_that_come_to_the_port_themselves(tmp_path: Path) -> None:
    """In a network of its own, with another host in it."""
    [rules] = [block.text for block in blocks(PAGE, "nft")]
    (tmp_path / "rules.nft").write_text(rules)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["unshare", "-rnm", sys.executable, "-m", "tests.integration.moving", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    answers, failures = done.stdout.splitlines()[-1].split(" answers, failures: ")
    assert failures == "[]"
    assert int(answers) > 100
