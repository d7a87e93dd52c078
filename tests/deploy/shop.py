"""A shop as people lay it out on a server: releases, a link to the one of now, real processes, real commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from urllib.request import urlopen

from app.cli import blue_green_deploy
from app.cli.entry import run
from app.deploy.processes.process_table import Processes
from app.state.model import VERSIONS, VersionState
from tests.support.environment import own_environment
from tests.support.router_process import free_port

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = dict(os.environ, CODE="{code}", ARGUMENTS=" ".join(sys.argv[2:]), CWD=os.getcwd())
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.01)
"""
"""Answers everything with its environment, and with which code it is."""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shop:
    """A home with a state file, releases in `releases/`, and the link `current`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = {name: free_port() for name in ("blue", "green")}
        self.environ = own_environment()
        self.environ["TRAFFIC_ROUTER_HOME"] = str(home)
        versions = {name: {"port": port} for name, port in self.ports.items()}
        (home / ".local_context").mkdir(parents=True)
        (home / ".local_context" / "bg_state.json").write_text(
            json.dumps({"active_version": None, "versions": versions})
        )
        self.configure()

    @property
    def current(self) -> Path:
        return self.home / "current"

    def configure(
        self, *, dir_: str | None = None, command: str = "", app: str = "", deploy: str = "", release: str = ""
    ) -> None:
        """Write traffic_router.toml; with `release`, the table of that name, `dir` is left to it."""
        command = command or f"{sys.executable} -I -S app.py {{port}}"
        text = f'[app]\ncommand = "{command}"\nhealthy_after = 1\nstart_timeout = 5\n'
        if not release:
            text += f'dir = "{dir_ or self.current}"\n'
        (self.home / "traffic_router.toml").write_text(f"{text}{app}\n[deploy]\n{deploy}\n[release]\n{release}\n")

    def release(self, name: str, *, links: bool = True) -> Path:
        """Bring a release onto the machine, and let `current` lead to it."""
        folder = self.home / "releases" / name
        folder.mkdir(parents=True)
        self.code(folder, name)
        if links:
            self.link(name)
        return folder

    def code(self, folder: Path, name: str) -> None:
        """Put a release's code into a directory."""
        (folder / "app.py").write_text(CODE.replace("{code}", name))

    def link(self, name: str) -> None:
        fresh = self.home / "current.new"
        fresh.symlink_to(self.home / "releases" / name)
        fresh.rename(self.current)

    def deploy(self, *words: str, **environ: str) -> Done:
        """Run one command as it is typed in another shell, with these variables; in this process, which is ready."""
        out, err = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        with (
            mock.patch.dict(os.environ, {**self.environ, **environ}, clear=True),
            contextlib.chdir(ROOT),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(blue_green_deploy.main, words)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return Done(code, out.getvalue(), err.getvalue())

    def must(self, *words: str, **environ: str) -> str:
        """Run a command that has to do well; gives what it printed."""
        done = self.deploy(*words, **environ)
        assert done.code == 0, done
        return done.out

    def status(self) -> dict[str, object]:
        known: dict[str, object] = json.loads(self.deploy("status", "--json").out)
        return known

    def told(self, name: str) -> Mapping[str, str]:
        """What a version answers."""
        with urlopen(f"http://127.0.0.1:{self.ports[name]}/", timeout=5) as answer:
            told: Mapping[str, str] = json.load(answer)
            return told

    def serving(self) -> tuple[str, str]:
        """The release that the active version is said to be, and the code that answers."""
        known = self.status()
        name = known["active_version"]
        assert isinstance(name, str)
        versions = known["versions"]
        assert isinstance(versions, dict)
        told = self.told(name)
        assert told.get("BG_RELEASE") == (versions[name]["release"] or "")
        return versions[name]["release"], told["CODE"]

    def close(self) -> None:
        """Ends what runs, whatever the test has made of the state and the settings."""
        processes = Processes(self.home / ".local_context")
        for version in (VersionState(name, 0) for name in VERSIONS):
            for one in (version, *processes.strays(version)):
                processes.stop(one, 0)
