"""Servers with an application that answers without reading the request's body."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.peers.peers import PEERS_PYTHON
from tests.support.raw_client import ask
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

__all__ = ["SERVERS", "running"]

_GUNICORN = f"{PEERS_PYTHON} -m gunicorn --no-control-socket --keep-alive 75 -b 127.0.0.1:{{port}}"
_WSGI, _ASGI = "tests.support.apps.refusing_app:app", "tests.support.apps.refusing_app:asgi"
_APPS = ROOT / "tests" / "support" / "apps"

SERVERS = {
    "gunicorn-sync": f"{_GUNICORN} -w 2 {_WSGI}",
    "gunicorn-gthread": f"{_GUNICORN} -k gthread --threads 8 {_WSGI}",
    "gunicorn-gevent": f"{_GUNICORN} -k gevent {_WSGI}",
    "gunicorn-asgi": f"{_GUNICORN} -k asgi {_ASGI}",
    "uvicorn-h11": f"{PEERS_PYTHON} -m uvicorn --log-level warning --http h11 --port {{port}} {_ASGI}",
    "uvicorn-httptools": f"{PEERS_PYTHON} -m uvicorn --log-level warning --http httptools --port {{port}} {_ASGI}",
    "hypercorn": f"{PEERS_PYTHON} -m hypercorn -b 127.0.0.1:{{port}} {_ASGI}",
    "granian": f"{PEERS_PYTHON} -m granian --interface asgi --port {{port}} {_ASGI}",
    "waitress": f"{PEERS_PYTHON} -m waitress --listen=127.0.0.1:{{port}} {_WSGI}",
    "node": f"node {_APPS / 'refusing.js'} {{port}}",
    "php": f"php -S 127.0.0.1:{{port}} {_APPS / 'refusing.php'}",
}
"""Command lines, in the words of a shell without quotes."""


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[int]:
    """Run one of `SERVERS` for the length of a `with` block and give its port."""
    port = free_port()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            SERVERS[name].format(port=port).split(),
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _answers(port), f"{name}'s first answer", 30)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        return ask(port, b"GET /200 HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n").status == 200
    except OSError:
        return False
