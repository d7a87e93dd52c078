"""A real application server as a child process, to stand behind the router."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.raw_client import ask
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

SERVERS = {
    "fastapi": "uvicorn --host 127.0.0.1 --port {port} --log-level warning tests.support.apps.fastapi_app:app",
    "django": "gunicorn -k gthread --threads 8 --no-control-socket -b 127.0.0.1:{port} "
    "tests.support.apps.django_app:create()",
    "demo": "gunicorn -k gthread --threads 32 --keep-alive 75 --no-control-socket -b 127.0.0.1:{port} "
    "app.demo.demo_app:create_app()",
}
"""Module and arguments of each application, as after `python -m`."""

HEALTH = b"GET /health HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def running_app(name: str, folder: Path) -> Iterator[int]:
    """Run one of `SERVERS` for the length of a `with` block and give its port.

    It runs in a folder of its own: a gunicorn started in our root would load our gunicorn.conf.py.
    """
    port = free_port()
    command = [sys.executable, "-m", *SERVERS[name].format(port=port).split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(port), f"{name}'s first answer", 30)
        yield port
    finally:
        process.terminate()
        process.wait(15)


def _answers(port: int) -> bool:
    try:
        return ask(port, HEALTH).status == 200
    except OSError:
        return False
