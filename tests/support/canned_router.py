"""A stand-in for the running router: an HTTP server that answers each path as a test tells it to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

HEALTHY = {
    "status": "healthy",
    "active_port": 5005,
    "active_version": "blue",
    "backend": {"ok": True, "status": 200, "latency_ms": 1.2, "reason": None},
    "state": {"fault": None},
}

METRICS = {
    "total_requests": 1024,
    "successful_requests": 1020,
    "failed_requests": 4,
    "success_rate": 99.6,
    "bytes_proxied": 5242880,
    "avg_request_time_ms": 45.2,
    "version_requests": {"blue": 512, "green": 512},
}
"""The documented fields, with the documented figures."""


class CannedRouter:
    """Answers `answers[path]`, a status and a JSON value or text, without regard to the query; else 404."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {
            "/__router_health": (200, dict(HEALTHY)),
            "/__router_metrics": (200, dict(METRICS)),
            "/health": (200, "ok"),
        }
        self.asked: list[str] = []
        self.fields: list[dict[str, str]] = []
        canned = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canned.asked.append(self.path)
                canned.fields.append(dict(self.headers))
                canned.count(self.path)
                status, content = canned.answers.get(self.path.partition("?")[0], (404, "not found"))
                body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port: int = self._server.server_address[1]
        self.counts = True

    def count(self, path: str) -> None:
        """Count a request that is not for the router itself, as the real one does."""
        status, metrics = self.answers["/__router_metrics"]
        if self.counts and not path.startswith("/__") and isinstance(metrics, dict):
            total = metrics["total_requests"] + 1
            self.answers["/__router_metrics"] = (status, {**metrics, "total_requests": total})

    def __enter__(self) -> CannedRouter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
