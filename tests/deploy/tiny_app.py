"""An application that starts fast and does what files in its directory, or the one above, say.

`broken`: the health check answers 500. `redirect`: it leads to what is named there.
`status`: it is answered with what is written there. `stubborn`: SIGTERM is ignored.
`polite`: the signal that is named there, and no other, ends it with status 0. `env`: the environment is written there.
`exclusive`: it listens without SO_REUSEADDR.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import socketserver
import sys
from pathlib import Path


def flag(name: str) -> Path:
    """The file of that name, in our directory or the one above."""
    return Path(name) if Path(name).exists() else Path("..") / name


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": os.environ.get("BG_VERSION"), "release": os.environ.get("BG_RELEASE")}).encode()
        redirect = flag("redirect")
        status = int(flag("status").read_text()) if flag("status").exists() else 200
        self.send_response(500 if flag("broken").exists() else 302 if redirect.exists() else status)
        if redirect.exists():
            self.send_header("Location", redirect.read_text())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class UnixServer(http.server.HTTPServer):
    """The same on a Unix socket."""

    address_family = socket.AF_UNIX

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)  # type: ignore[arg-type]  # an address of the other family

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own looks up the name of the host


def end(_number: int, _frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    polite = flag("polite").read_text() if flag("polite").exists() else "TERM"
    signal.signal(signal.Signals[f"SIG{polite}"], signal.SIG_IGN if flag("stubborn").exists() else end)
    if flag("env").exists():
        flag("env").write_text(json.dumps(dict(os.environ)))
    sys.stdout.write(f"tiny app, release {os.environ.get('BG_RELEASE')}\n")
    sys.stdout.flush()
    http.server.HTTPServer.allow_reuse_address = not flag("exclusive").exists()
    where = sys.argv[1]
    with (
        UnixServer(where)
        if where.startswith("/")
        else http.server.HTTPServer(("127.0.0.1", int(where)), Handler) as server
    ):
        server.serve_forever(poll_interval=0.01)
