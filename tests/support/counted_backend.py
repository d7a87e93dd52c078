"""A backend that writes down each POST before it answers it, so that nobody can be counted twice unseen.

Run as `python -m tests.support.counted_backend PORT FILE`: answers 200 with its pid to everything, a POST after 20 ms,
and appends the value of a POST's X-Order to FILE.
"""

from __future__ import annotations

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

POST_S = 0.02


class Handler(BaseHTTPRequestHandler):
    """Answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # http.server's name for it
        """With the pid."""
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:  # as above
        """Notes it, works for a moment, and answers likewise."""
        self.rfile.read(int(self.headers["Content-Length"]))
        written = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(written, self.headers["X-Order"].encode() + b"\n")
        os.close(written)
        time.sleep(POST_S)
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the file is the record."""


class Server(ThreadingHTTPServer):
    """Takes its port again at once after a kill."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed."""
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
