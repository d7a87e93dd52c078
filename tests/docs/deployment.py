"""A deployment of its own for each page: the page's commands are typed into it, and what they print is compared.

The pages show the ports 5004 to 5006 and the folders /opt/traffic-router and /srv/shop. Here all are others; they are
put in place of each other in what is typed and in what is printed. Figures that differ from run to run (pids, times,
sizes) count as equal, and `…` in a page stands for anything.
"""

from __future__ import annotations

import getpass
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.docs.pages import ROOT, Command
from tests.support.environment import own_environment
from tests.support.router_process import free_port
from tests.support.waiting import wait_until

__all__ = ["SHOWN_ROOT", "Deployment", "differences", "even"]

SHOWN_ROOT: Final = "/opt/traffic-router"
SHOWN_SHOP: Final = "/srv/shop"
SHOWN_USER: Final = "root"
SHOWN_PORTS: Final = ("5004", "5005", "5006")

COMMAND_DEADLINE_S = 60.0

_FOREGROUND: Final = {"make run": "Ctrl-C here ends", "bin/traffic_router start": "Booting worker"}
"""Commands that go on until they are ended, and what they print when they have begun."""

_VARIES: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?\+\d\d:?\d\d)?"), "WHEN"),
    (re.compile(r'("(?:time|at|checked_at|switched_at)": ?)[\d."TW:HEN-]+'), r"\1WHEN"),
    (re.compile(r"\b[0-9a-f]{16}-[0-9a-f]{3,}\b"), "ID"),
    (re.compile(r"\w+, \d\d \w+ \d{4} \d\d:\d\d:\d\d GMT"), "WHEN"),
    (re.compile(r'(pid |"pid": ?)\d+'), r"\1N"),
    (re.compile(r"\[\d+\]"), "[N]"),
    (re.compile(r"^( *)\d\d:\d\d:\d\d "), r"\1WHEN "),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|min|h|d)\b( \d+ (s|min|h)\b)?"), "SPAN"),
    (re.compile(r"\b[\d.]+ (B|KiB|MiB|GiB)\b"), "SIZE"),
    (re.compile(r"dur=[\d.]+"), "dur=N"),
    (re.compile(r"[ \t]{2,}"), " "),
)


def even(line: str) -> str:
    """The line with what differs from run to run replaced by its kind."""
    for pattern, kind in _VARIES:
        line = pattern.sub(kind, line)
    return line.rstrip()


def differences(shown: Sequence[str], printed: Sequence[str]) -> str:
    """What is printed against what the page shows; empty when they agree."""
    wanted, found = _kept(shown), _kept(printed)
    if _matches(wanted, found):
        return ""
    return "\n".join(["the page shows:", *(f"  {line}" for line in wanted), "printed is:", *(f"  {x}" for x in found)])


def _kept(lines: Sequence[str]) -> list[str]:
    """Without progress and empty lines; of like lines in a row, such as checks, there are as many as there is time."""
    kept = (even(line) for line in lines if line.strip() and not line.startswith("⏳"))
    return [line for line, _alike in groupby(kept)]


def _matches(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the lines agree; a line `…` stands for any lines, a `…` in a line for any text."""
    if not wanted:
        return not found
    if wanted[0] == "…":
        return any(_matches(wanted[1:], found[begin:]) for begin in range(len(found) + 1))
    pattern = ".*".join(map(re.escape, wanted[0].split("…")))
    return bool(found) and re.fullmatch(pattern, found[0]) is not None and _matches(wanted[1:], found[1:])


class Deployment:
    """A folder with a state file, free ports, and what was started in it; everything ends with the `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shop = folder / "srv" / "shop"
        self._ports = tuple(str(free_port()) for _ in SHOWN_PORTS)
        self._foreground: list[subprocess.Popen[bytes]] = []
        self._last_exit = 0
        state_file = folder / ".local_context" / "bg_state.json"
        state_file.parent.mkdir(parents=True)
        versions = {"blue": {"port": int(self._ports[1])}, "green": {"port": int(self._ports[2])}}
        state_file.write_text(json.dumps({"active_version": None, "versions": versions}))
        for name in ("bin", "docs"):
            (folder / name).symlink_to(ROOT / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._foreground:
            process.terminate()
        for process in self._foreground:
            process.wait(COMMAND_DEADLINE_S)
        for line in ("bin/traffic_router stop", "bin/blue_green_deploy stop blue --force"):
            self.run(line)
        self.run("bin/blue_green_deploy stop green --force")

    def run(self, text: str) -> list[str]:
        """Type a command as a page shows it; gives the lines it prints, as the page would show them."""
        if text == "echo $?":
            return [str(self._last_exit)]
        ready = _FOREGROUND.get(text.removeprefix("python3 "))
        if ready is not None:
            return self._run_in_foreground(text.removeprefix("python3 "), ready)
        done = subprocess.run(
            ["bash", "-c", self._typed(text)],
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_DEADLINE_S,
            check=False,
        )
        self._last_exit = done.returncode
        return self._shown(done.stdout)

    def check(self, command: Command) -> str:
        """Run a page's command; gives how its output differs from the page's, empty when it does not."""
        difference = differences(command.shown, self.run(command.text))
        return f"line {command.line}: $ {command.text}\n{difference}" if difference else ""

    def _run_in_foreground(self, text: str, ready: str) -> list[str]:
        command = [sys.executable, "-m", "app.cli.run"]
        if text != "make run":
            command = [sys.executable, *text.split()]
        log = self._folder / f"foreground-{len(self._foreground)}.log"
        with log.open("wb") as output:
            where = ROOT if text == "make run" else self._folder
            process = subprocess.Popen(
                command, cwd=where, env=self._environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._foreground.append(process)
        wait_until(lambda: ready in log.read_text() or process.poll() is not None, f"{text}: {ready}", 40)
        return self._shown(log.read_bytes())

    def _environment(self) -> dict[str, str]:
        kept = own_environment()
        for name in ("PORT", "NO_COLOR", "LISTEN_PID", "SUDO_USER"):
            kept.pop(name, None)
        own = {"HOME": str(self._folder), "MAIN_PORT": self._ports[0], "WORKERS": "1", "BIND": "127.0.0.1"}
        return kept | {f"TRAFFIC_ROUTER_{name}": value for name, value in own.items()}

    def _typed(self, text: str) -> str:
        for shown, real in zip(SHOWN_PORTS, self._ports, strict=True):
            text = re.sub(rf"\b{shown}\b", real, text)
        return text.replace(SHOWN_SHOP, str(self._shop)).replace(SHOWN_ROOT, str(self._folder))

    def _shown(self, output: bytes) -> list[str]:
        text = output.decode(errors="replace").replace(str(self._shop), SHOWN_SHOP)
        for folder in (str(self._folder), str(ROOT)):
            text = text.replace(folder, SHOWN_ROOT)
        # Here the files are beside the project; where they are in it, its own folder needs no word.
        text = text.replace(f"TRAFFIC_ROUTER_HOME={SHOWN_ROOT} {SHOWN_ROOT}/bin/", "python3 bin/")
        text = re.sub(rf"\b{re.escape(getpass.getuser())}\b", SHOWN_USER, text)
        for shown, real in zip(SHOWN_PORTS, self._ports, strict=True):
            text = re.sub(rf"\b{real}\b", shown, text)
        return text.splitlines()
