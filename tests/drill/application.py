"""The application of the drill: `python app.py PORT` answers every path with its release, or as `does.json` says.

`does.json`, beside it, has by path (`*` is every other one) `status`, `delay_s` and `drips`, half seconds in which the
answer goes on, as they are wanted. It is read for each request, so that a running version falls ill.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DOES = Path(__file__).with_name("does.json")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        table = json.loads(DOES.read_bytes()) if DOES.exists() else {}
        does = table.get(self.path, table.get("*", {}))
        time.sleep(does.get("delay_s", 0))
        body = os.environ.get("BG_RELEASE", "").encode()
        drips = does.get("drips", 0)
        self.send_response(does.get("status", 200))
        self.send_header("Content-Length", str(len(body) + drips))
        self.end_headers()
        self.wfile.write(body)
        for _ in range(drips):
            time.sleep(0.5)
            self.wfile.write(b".")

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Takes what a router with two workers sends at once."""

    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.05)
