"""The router as the benchmarks run it: metrics and request ids on, access log off, settings of its own."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.processes import ROOT, Server, free_port, running

__all__ = ["COMMAND", "environment", "router", "worker_figures", "write_state"]

COMMAND = (sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "app:wsgi")


def write_state(folder: Path, blue_port: int, green_port: int = 0, active: str = "blue") -> Path:
    """Replaces the state file as a deploy does, by a rename."""
    versions = {"blue": {"port": blue_port}} | ({"green": {"port": green_port}} if green_port else {})
    path, draft = folder / "bg_state.json", folder / "bg_state.json.draft"
    draft.write_text(json.dumps({"active_version": active, "versions": versions}))
    os.replace(draft, path)
    return path


def environment(folder: Path, port: int, workers: int = 1) -> dict[str, str]:
    """The settings: defaults but for where it listens, its files and how many workers."""
    return {
        "TRAFFIC_ROUTER_MAIN_PORT": str(port),
        "TRAFFIC_ROUTER_BIND": "127.0.0.1",
        "TRAFFIC_ROUTER_STATE_FILE": str(folder / "bg_state.json"),
        "TRAFFIC_ROUTER_WORKERS": str(workers),
        "TRAFFIC_ROUTER_LOG_LEVEL": "error",
    }


@contextmanager
def router(
    folder: Path,
    origin_port: int,
    cores: frozenset[int],
    workers: int = 1,
    settings: Mapping[str, str] = MappingProxyType({}),
    name: str = "router",
    backends: Sequence[int] = (),
    max_in_flight: int = 0,
) -> Iterator[Server]:
    """A router in front of the origin until the block is left; its state file is in `folder`.

    `settings` come on top of those of `environment`, under the names of their environment variables. `backends` are
    ports to name in the settings file, with the setting `max_in_flight`; then the origin's port is not used.
    """
    folder.mkdir(exist_ok=True)
    if backends:
        named = json.dumps([f"127.0.0.1:{port}" for port in backends])
        (folder / "traffic_router.toml").write_text(f"[backends]\nblue = {named}\nmax_in_flight = {max_in_flight}\n")
    write_state(folder, origin_port)
    port = free_port()
    environ = {**environment(folder, port, workers), **settings}
    with running(name, COMMAND, port, folder, cores, environ) as server:
        yield server


def worker_figures(port: int) -> list[dict[str, Any]]:
    """What /__router_metrics says of each worker: among others its pid and its requests so far."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/__router_metrics", timeout=10) as answer:
        workers: list[dict[str, Any]] = json.load(answer)["workers"]
        return workers
