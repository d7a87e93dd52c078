"""An application that is as good as its release's name says: `r2`, `r2-failing`, `r2-slow`, `r2-ending`, `r2-hanging`.

It takes some 20 ms for each request, a slow one 36, and 1 in 500 fails.
"""

from __future__ import annotations

import os
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_, _, KIND = os.environ.get("BG_RELEASE", "").partition("-")
FAILS = 0.03 if KIND == "failing" else 0.002
TAKES_S = 0.036 if KIND == "slow" else 0.02
LASTS = 60
"""So many requests are answered before the odd ones end or hang."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answered = 0

    def do_GET(self) -> None:
        is_health = self.path == "/health"
        if not is_health:
            self._be_odd()
            time.sleep(TAKES_S * random.uniform(0.7, 1.3))
        body = KIND.encode() or b"good"
        self.send_response(500 if not is_health and random.random() < FAILS else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _be_odd(self) -> None:
        Handler.answered += 1
        if Handler.answered > LASTS and KIND == "ending":
            os._exit(7)
        if Handler.answered > LASTS and KIND == "hanging":
            time.sleep(60)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.05)
