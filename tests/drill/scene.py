"""The deployment that is broken: release r2 is active on green, r1 stands by on blue, r3 is ready to be deployed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import create_connection, socket
from typing import Any, NamedTuple

import psutil

from tests.soak.site import Site
from tests.support.mounts import mounted
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

__all__ = ["Asked", "Done", "Load", "Scene"]

PATHS = ("/", "/cart", "/search")
PAUSE_S = 0.1
"""Between two requests of one client: some thirty a second in all."""

CLIENTS = 3
FLOWING = 20
TYPED_DEADLINE_S = 60.0
PATIENCE_S = 8.0
"""More than `read_timeout` and `hold_timeout`: the router is the one that gives up."""

SETTINGS = """\
main_port = {port}
bind = "127.0.0.1"
workers = {workers}
health_check_interval = 0.5
hold_timeout = 1
read_timeout = 2
drain_timeout = 3
graceful_timeout = 3

[app]
command = "{python} -I -S app.py {{port}}"
healthy_after = 1
start_timeout = 4
health_timeout = 1
stop_timeout = 3

[release]
dir = "{folder}/releases/{{release}}"
"""


class Done(NamedTuple):
    """How a command ended."""

    command: str
    code: int
    said: str


class Asked(NamedTuple):
    """What became of a request: when it was begun (monotonic), and how it was answered; status 0 is not at all."""

    begun: float
    status: int
    cause: str


class Scene(Site):
    """One deployment; `elsewhere` is another folder, where hints are typed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 2, SETTINGS)
        self.elsewhere = folder / "elsewhere"
        self._ending = ExitStack()
        self.typed: list[Done] = []
        self._left: list[socket] = []
        self.strangers: list[subprocess.Popen[Any]] = []
        self._foreground: list[subprocess.Popen[bytes]] = []

    # --- life ------------------------------------------------------------------------------------------------

    def open(self, more_settings: str = "") -> None:
        """Start everything, and bring it into the state in which a night begins."""
        self.elsewhere.mkdir()
        for name in ("r1", "r2", "r3"):
            self.release(name)
        settings = self._settings.format(port=self.port, workers=2, python=sys.executable, folder=self.folder)
        self.settings_file.write_text(more_settings + settings)
        if "small disk" in more_settings:
            self._ending.enter_context(mounted(self.context, "size=64m"))
        else:
            self.context.mkdir()
        versions = {name: {"port": free_port()} for name in ("blue", "green")}
        self.state_file.write_text(json.dumps({"active_version": None, "versions": versions}))
        self.deploy("start", "blue", "--release=r1")
        self.router("start", "--daemon")
        self.deploy("deploy", "--release=r2")

    def release(self, name: str) -> Path:
        """Bring a release onto the machine."""
        folder = self.folder / "releases" / name
        folder.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("application.py"), folder / "app.py")
        return folder

    def close(self) -> None:
        """End all that was started, also what was suspended."""
        for stranger in self.strangers:
            stranger.kill()
            stranger.wait()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not self.processes(), "the end of the processes")
        for shell in self._foreground:
            shell.wait(TYPED_DEADLINE_S)
        self._output.close()
        self._ending.close()

    def processes(self) -> list[psutil.Process]:
        """Everything of this deployment that runs: it has our folder in its command, its environment or as its own."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                texts = (*process.cmdline(), *process.environ().values(), process.cwd())
                if any(str(self.folder) in text for text in texts):
                    found.append(process)
        return found

    # --- what is broken --------------------------------------------------------------------------------------

    @property
    def settings_file(self) -> Path:
        """The settings."""
        return self.folder / "traffic_router.toml"

    @property
    def last_good(self) -> Path:
        """The copy of the last good state."""
        return self.context / "bg_state.last_good.json"

    @property
    def router_log(self) -> Path:
        """What the router prints."""
        return self.context / "logs" / "router.log"

    def settings(self, old: str, new: str) -> None:
        """Change the settings in one place."""
        text = self.settings_file.read_text()
        assert old in text
        self.settings_file.write_text(text.replace(old, new, 1))

    def does(self, release: str, **paths: Mapping[str, object]) -> None:
        """What a release does from now on: by path, `every` for all the others; without paths, it is well."""
        table = {"*" if path == "every" else f"/{path}": does for path, does in paths.items()}
        fresh = self.folder / "releases" / release / "does.new"
        fresh.write_text(json.dumps(table))
        fresh.replace(fresh.with_suffix(".json"))

    def wait_for_release(self, version: str, release: str) -> None:
        """Wait until a version is started with that release."""

        def is_there() -> bool:
            known = self.noted(self.state_file).get("versions", {}).get(version, {})
            return known.get("release") == release and bool(known.get("pid"))

        wait_until(is_there, f"{release} on {version}", 30)

    def ask_and_leave(self, path: str) -> None:
        """Begin a request, and do not wait for its answer."""
        connection = create_connection(("127.0.0.1", self.port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        self._left.append(connection)
        with self.metrics() as metrics:
            wait_until(lambda: any(row.path == path for row in metrics.snapshot().rows), path)

    def fill_disk(self) -> None:
        """Leave no byte on the small file system that the deployment's files are on."""
        with suppress(OSError), (self.context / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

    def clear_disk(self) -> None:
        """Make room again."""
        (self.context / "filler").unlink()

    def take_port(self, version: str) -> None:
        """Let a program that is none of ours listen on a version's port."""
        port = json.loads(self.state_file.read_bytes())["versions"][version]["port"]
        program = [sys.executable, "-I", "-m", "http.server", "--bind=127.0.0.1", str(port)]
        quiet = subprocess.DEVNULL
        self.strangers.append(subprocess.Popen(program, cwd=self.elsewhere, stdout=quiet, stderr=quiet))
        wait_until(lambda: listens(port), "the stranger")

    def workers(self) -> list[int]:
        """The pids of the router's workers."""
        with self.metrics() as metrics:
            return sorted(each.pid for each in metrics.snapshot().workers)

    def written(self) -> tuple[int, int]:
        """How long the router's log and the history are by now, in characters."""
        history = self.context / "history.jsonl"
        return len(self.router_log.read_text()), len(history.read_text())

    def kill(self, version: str, number: int = signal.SIGKILL) -> None:
        """Send a version's process a signal."""
        pid = self.pid_of(version)
        assert pid is not None
        os.kill(pid, number)

    def command(self, *words: str, program: str = "blue_green_deploy") -> Done:
        """Run one of our commands; it may fail."""
        return Done(" ".join((program, *words)), *self.said(program, *words))

    def type(self, line: str) -> Done:
        """Type a line into a shell; a router that it starts in the foreground goes on.

        In another folder, and with nothing set for this deployment, unless the line needs the project's root.
        """
        is_complete = not re.search(r"(^|\s)(python3 )?bin/", line)
        environ = dict(self._environment)
        if is_complete:
            del environ["TRAFFIC_ROUTER_HOME"]
        said = self.folder / f"typed-{len(self.typed)}.txt"
        with said.open("w") as file:
            process = subprocess.Popen(
                ["sh", "-c", line],
                cwd=self.elsewhere if is_complete else ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        if line.endswith("traffic_router start"):  # no --daemon
            wait_until(lambda: process.poll() is not None or listens(self.port), line, TYPED_DEADLINE_S)
        else:
            process.wait(TYPED_DEADLINE_S)
        self._foreground.append(process)
        done = Done(line, process.poll() or 0, said.read_text())
        self.typed.append(done)
        return done


def listens(port: int) -> bool:
    """Whether somebody listens."""
    with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Load:
    """Clients that ask without pause for the length of a `with` block; each request is noted."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        self.asked: list[Asked] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment: float) -> list[Asked]:
        """The requests that were begun after a moment."""
        return [each for each in self.asked if each.begun >= moment]

    def flows(self) -> bool:
        """Whether traffic flows: of the requests that are begun from now on, `FLOWING` in a row succeed."""
        moment = time.monotonic()

        def settled() -> list[Asked]:
            return found if len(found := self.since(moment)) >= FLOWING else []

        return all(each.status == 200 for each in wait_until(settled, "requests", 60))

    def _ask_on(self) -> None:
        for number in range(1 << 30):
            if self._ends.wait(PAUSE_S):
                return
            begun = time.monotonic()
            status, cause = self._ask(PATHS[number % len(PATHS)])
            self.asked.append(Asked(begun, status, cause))

    def _ask(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            return 0, type(error).__name__
        finally:
            connection.close()
        return answer.status, answer.headers.get("X-Router-Cause", "")
