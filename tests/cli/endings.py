"""The ends that a command can come to in the midst of its work, and the phases in which they are tried."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.address import Address
from app.cli import blue_green_deploy
from app.cli.entry import run
from app.deploy.record.history import Entry, History
from app.metrics.shared import SharedMetrics, monotonic_us
from app.settings.tables.app_settings import AppConfig
from app.state.store import StateStore
from app.upstream.probe import probe
from tests.support.waiting import wait_until

LAUNCHER: Final = Path(__file__).resolve().parents[2] / "bin" / "blue_green_deploy"


class Scene:
    """A home with release r1 on blue, r2 on green and active, and a router's metrics; r3 is about to be deployed."""

    def __init__(self, home: Path, scope: ExitStack) -> None:
        self.home = home
        self.scope = scope
        self.store = StateStore(home / ".local_context" / "bg_state.json")
        self.history = History(self.store.folder / "history.jsonl")
        self.configure("stop_timeout = 2\n")
        # Each has a directory of its own, or it could not be started again after the next one.
        for words in (("start", "blue", "--release=r1"), ("deploy", "--release=r2")):
            (home / words[-1][-2:]).mkdir()
            assert self.run(*words, f"--dir={words[-1][-2:]}") == 0
        metrics = SharedMetrics.create_or_attach(self.store.folder / "router_metrics.mmap", 4)
        scope.callback(metrics.close)
        self.router = metrics.claim_slot(os.getpid())
        scope.callback(self.router.close)

    def run(self, *argv: str) -> int:
        """Run a command to its end, in this process, which is ready for it."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return run(blue_green_deploy.main, argv)

    def configure(self, text: str) -> None:
        with (self.home / "traffic_router.toml").open("a") as file:
            file.write(text)

    @property
    def last(self) -> Entry:
        return self.history.entries()[-1]

    def answering(self) -> str:
        """The release that the active version's answer names."""
        version = self.store.read().active
        assert version is not None
        return str(json.loads(probe(Address("127.0.0.1", version.port), AppConfig()).body_start)["release"])


@dataclass(frozen=True)
class Stage:
    """One phase: how to get a deploy to stay in it, and what must stand when it is ended there."""

    prepare: Callable[[Scene], object]
    outcome: str
    active: str
    options: tuple[str, ...] = ()


def _busy(scene: Scene) -> None:
    scene.router.start(1, b"GET", b"/report", monotonic_us())


def _stubborn(scene: Scene) -> None:
    """Both versions ignore SIGTERM from their next start on, which is now."""
    (scene.home / "stubborn").touch()
    assert scene.run("restart", "blue") == 0
    assert scene.run("restart", "green") == 0


STAGES: Final = {
    "preparing": Stage(lambda it: it.configure("[deploy]\nbefore = ['sleep 60']\n"), "interrupted", "r2"),
    "clearing": Stage(_stubborn, "interrupted", "r2"),
    "gating": Stage(lambda it: (it.home / "broken").touch(), "interrupted", "r2"),
    "smoke_test": Stage(lambda it: it.configure("[deploy]\nsmoke = ['sleep 60']\n"), "interrupted", "r2"),
    "post_switch": Stage(lambda it: it.configure("[deploy]\npost = ['sleep 60']\n"), "rolled back", "r2"),
    "watching": Stage(lambda it: None, "rolled back", "r2", ("--watch=60",)),
    "draining": Stage(_busy, "interrupted", "r3"),
    "retiring": Stage(_stubborn, "interrupted", "r3", ("--stop-old",)),
}


class Ending:
    """A way in which a command is ended: how it is started, and what happens to it."""

    def __init__(self, *signals: int, output: str = "") -> None:
        self.signals = signals
        self.output = output

    @contextlib.contextmanager
    def started(self, *argv: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]:
        """The command, and what ends it."""
        with ExitStack() as files:
            terminal, ours = -1, -1
            target: int = subprocess.DEVNULL
            if self.output in ("terminal", "terminal of others"):
                ours, terminal = pty.openpty()
                target = terminal
            elif self.output == "reader":
                ours, target = os.pipe()
            elif self.output:
                target = files.enter_context(open(self.output, "wb")).fileno()
            process = subprocess.Popen(
                [sys.executable, "-c", _LEAD, str(self.output == "terminal"), str(LAUNCHER), *argv],
                stdin=target if self.output.startswith("terminal") else subprocess.DEVNULL,
                stdout=target,
                stderr=target,
            )
            if target > 2 and self.output in ("terminal", "terminal of others", "reader"):
                os.close(target)

            def end() -> None:
                if ours >= 0:
                    os.close(ours)
                for number in self.signals:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(number)
                    time.sleep(0.02)

            try:
                yield process, end
            finally:
                process.kill()
                process.wait()


_LEAD = """
import fcntl, os, sys, termios
os.setsid()
if sys.argv[1] == "True":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Leads a session, and has the terminal for its own, as the shell of an ssh connection has."""

ENDINGS: Final = {
    "terminal closed": Ending(output="terminal"),
    "ssh gone": Ending(signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, output="terminal of others"),
    "no reader": Ending(signal.SIGTERM, output="reader"),
    "full disk under the log": Ending(signal.SIGINT, signal.SIGINT, output="/dev/full"),
    "hangup": Ending(signal.SIGHUP),
    "kill twice": Ending(signal.SIGTERM, signal.SIGTERM),
    "ctrl-c": Ending(signal.SIGINT),
}


def is_in(scene: Scene, phase: str) -> bool:
    """Whether the deploy is in that phase, and in the midst of it."""
    last = scene.last
    if not (last.operation == "deploy" and last.release == "r3" and last.phase == phase and last.outcome is None):
        return False
    if phase in ("clearing", "retiring"):
        return "stopping" in {version.status for version in scene.store.read().versions.values()}
    return phase != "gating" or scene.store.read().version("blue").pid is not None


def check_end(scene: Scene, phase: str, ending: str) -> None:
    """Deploy r3, end the command in that phase, and look at what it left behind."""
    stage = STAGES[phase]
    stage.prepare(scene)
    with ENDINGS[ending].started("deploy", "--release=r3", *stage.options) as (process, end):
        wait_until(lambda: is_in(scene, phase), phase, 20)
        time.sleep(0.1)
        end()
        assert process.wait(30) == 128 + signal.SIGINT
    assert (scene.last.release, scene.last.outcome) == ("r3", stage.outcome)
    for trouble in ("broken", "stubborn"):
        (scene.home / trouble).unlink(missing_ok=True)
    assert scene.answering() == stage.active
    assert scene.history.unfinished() == []
    leads_back = scene.run("rollback") == 0
    assert scene.answering() in (("r1", "r2") if leads_back else (stage.active,))
