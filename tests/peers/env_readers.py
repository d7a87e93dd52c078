"""Real programs that read files of variables, each asked what it makes of a text; None for a file that it refuses.

docker's client needs no docker: a server of a few lines stands for the daemon, and notes what the client asks it for.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values

from app.deploy.release.env_readers import MARK, RULES
from tests.peers.peers import PEERS_PYTHON
from tests.support.systemd_machine import SystemdMachine, missing

__all__ = ["ASK", "EXAMPLES", "Reading", "readings", "rows"]

Reading = Mapping[str, str] | None

EXAMPLES = {
    **{rule.what: rule.example for rule in RULES},
    "a byte order mark at the beginning of the file": f"{MARK}A=1",
}

_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/h"}
_SHELLS_OWN = {"PATH", "HOME", "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}
_PRINT = "import json, os; print(json.dumps(dict(os.environ)))"
_HONCHO = """
import json, sys
from honcho.environ import parse
for path in sys.argv[1:]:
    try:
        with open(path, encoding="utf-8") as file:
            print(json.dumps(parse(file.read())))
    except ValueError:
        print("null")
"""


def _files(texts: Sequence[str], folder: Path) -> list[Path]:
    paths = [folder / f"{number}.env" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    return paths


def _dotenv(paths: Sequence[Path]) -> list[Reading]:
    read = [dotenv_values(path, interpolate=False) for path in paths]
    return [{name: value for name, value in values.items() if value is not None} for values in read]


def _honcho(paths: Sequence[Path]) -> list[Reading]:
    done = subprocess.run([PEERS_PYTHON, "-c", _HONCHO, *paths], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _node(paths: Sequence[Path]) -> list[Reading]:
    program = "console.log(JSON.stringify(process.env))"
    done = (_output(["node", f"--env-file={path}", "-e", program]) for path in paths)
    return [_added(json.loads(text)) for text in done]


def _shell(paths: Sequence[Path]) -> list[Reading]:
    line = 'set -a; . "$0" >/dev/null 2>&1; exec "$1" -I -S -c "$2"'
    return [_added(json.loads(_output(["bash", "-c", line, str(path), sys.executable, _PRINT]))) for path in paths]


def _output(words: Sequence[str]) -> str:
    return subprocess.run(words, env=_ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def _added(environ: Mapping[str, str]) -> Reading:
    return {name: value for name, value in environ.items() if name not in _SHELLS_OWN}


class _Daemon(http.server.BaseHTTPRequestHandler):
    """Says yes to everything, and notes the environment of the container that is asked for."""

    protocol_version = "HTTP/1.1"
    asked: list[list[str]] = []

    def do_GET(self) -> None:
        self._answer(200, b"OK")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        self.asked.append(body.get("Env") or [])
        self._answer(201, b'{"Id": "0123456789ab", "Warnings": []}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _docker(paths: Sequence[Path]) -> list[Reading]:
    socket = paths[0].parent / "docker.sock"
    environ = {**_ENVIRONMENT, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(socket.parent)}
    found: list[Reading] = []
    with socketserver.ThreadingUnixStreamServer(str(socket), _Daemon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for path in paths:
            _Daemon.asked.clear()
            words = ["docker", "create", f"--env-file={path}", "image"]
            done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30)
            pairs = [line.partition("=") for line in _Daemon.asked[-1]] if done.returncode == 0 else None
            found.append(None if pairs is None else {name: value for name, _, value in pairs})
        server.shutdown()
    return found


def _docker_by_rule(paths: Sequence[Path]) -> list[Reading]:
    """What docker 28's client does, where there is none: cut at `=`, and keep the rest as it is."""
    return [_cut(path.read_bytes().decode().removeprefix("\ufeff")) for path in paths]


def _cut(text: str) -> Reading:
    found = {}
    for line in (line.removesuffix("\r").lstrip() for line in text.split("\n")):
        name, equals, value = line.partition("=")
        if not line or line.startswith("#"):
            continue
        if not name or any(blank in name for blank in " \t"):
            return None
        if equals:
            found[name] = value
    return found


def _systemd(paths: Sequence[Path]) -> list[Reading]:
    """A real systemd, one unit for each file."""
    with tempfile.TemporaryDirectory() as folder, SystemdMachine(Path(folder)) as machine:
        for number, path in enumerate(paths):
            machine.path(f"/run/{number}.env").write_bytes(path.read_bytes())
            service = f"Type=oneshot\nEnvironmentFile=/run/{number}.env\nStandardOutput=file:/run/{number}.out"
            unit = f"/run/systemd/system/env{number}.service"
            machine.write(unit, f"[Service]\n{service}\nExecStart=/usr/bin/cat /proc/self/environ\n")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", *(f"env{number}" for number in range(len(paths))), check=False)
        outputs = [machine.path(f"/run/{number}.out").read_bytes().decode() for number in range(len(paths))]
    own = {"PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID"}
    pairs = [[line.partition("=") for line in output.split("\0") if line] for output in outputs]
    return [{name: value for name, _, value in some if name not in {*own, "container"}} for some in pairs]


ASK: Mapping[str, Callable[[Sequence[Path]], list[Reading]]] = {
    "python-dotenv": _dotenv,
    "docker": _docker if shutil.which("docker") else _docker_by_rule,
    "honcho": _honcho,
    "node": _node,
    "shell": _shell,
    "systemd": _systemd,
}
"""By the reader's name."""


def readings(texts: Sequence[str], folder: Path, readers: Sequence[str]) -> dict[str, list[Reading]]:
    """What each of the readers makes of each of the texts."""
    paths = _files(texts, folder)
    return {name: ASK[name](paths) for name in readers if not (name == "systemd" and missing())}


def rows(found: Mapping[str, Sequence[Reading]]) -> list[str]:
    """The rows of the table in the reference: each example, and what each reader makes of it."""
    names = list(found)
    lines = [f"| What is in the line | Example | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for number, (what, example) in enumerate(EXAMPLES.items()):
        router = found["python-dotenv"][number]
        cells = [_cell(found[name][number], router if name != "python-dotenv" else {}) for name in names]
        lines.append(f"| {what} | {_code(example)} | {' | '.join(cells)} |")
    return lines


def _cell(reading: Reading, router: Reading) -> str:
    if reading is None:
        return "refuses the file"
    if reading == router:
        return "the same"
    return ", ".join(_code(f"{name}={value}") for name, value in reading.items()) or "no variable"


_SIGNS = {"\n": "⏎", "\r": "␍", "\t": "⇥", MARK: "□"}


def _code(text: str) -> str:
    for sign, shown in _SIGNS.items():
        text = text.replace(sign, shown)
    text = re.sub(r"( +)\Z", lambda found: "␠" * len(found[0]), text).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"
