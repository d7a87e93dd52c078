"""A server that cannot listen while a connection of its predecessor lingers: it does not set SO_REUSEADDR.

`python -m tests.support.apps.sticky_app PORT`; it keeps connections, and answers 200 and the version's name.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("BG_VERSION", "").encode()


class Handler(BaseHTTPRequestHandler):
    """Reads the body and answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:  # the library's name
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(NAME)))
        self.end_headers()
        self.wfile.write(NAME)

    do_POST = do_GET  # as above

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    allow_reuse_address = False
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
