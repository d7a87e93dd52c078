"""A small web application that shows which version answers, and has one endpoint for each kind of traffic.

    /                  a page in the version's colour         /slow?s=2          answers after a while
    /health            200 and JSON                           /events            server-sent events
    /json              who answered                           /download?mb=10    a large file
    /echo              what was received (any method)         /fail?status=500   an error on demand

A release with "broken" in its name fails its health check, to try out what a deploy does then.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping

from flask import Flask, Response, abort, jsonify, render_template, request, stream_with_context

__all__ = ["create_app"]

_CHUNK = bytes(range(256)) * 256
"""64 KiB of a pattern in which a lost or doubled byte shows."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_COLOURS = {"blue": ("#1f5fbf", "#eaf1fb"), "green": ("#1c7c46", "#e8f5ed")}
_NO_COLOUR = ("#4a4a4a", "#f2f2f2")


def create_app(environ: Mapping[str, str] = os.environ) -> Flask:
    """The WSGI application of one version, named by `BG_VERSION` and `BG_RELEASE`."""
    version, release = environ.get("BG_VERSION", ""), environ.get("BG_RELEASE", "")
    started = time.monotonic()
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it

    def identity() -> dict[str, object]:
        return {"version": version, "release": release, "pid": os.getpid()}

    @app.get("/")
    def page() -> str:
        colour, paper = _COLOURS.get(version, _NO_COLOUR)
        uptime_s = int(time.monotonic() - started)
        return render_template("page.html", colour=colour, paper=paper, uptime_s=uptime_s, **identity())

    @app.get("/health")
    def health() -> tuple[Response, int]:
        is_broken = "broken" in release
        return jsonify(status="broken" if is_broken else "ok", **identity()), 500 if is_broken else 200

    @app.get("/json")
    def who() -> Response:
        return jsonify(identity() | {"path": request.full_path.rstrip("?"), "time": time.time()})

    @app.route("/echo", methods=_METHODS)
    def echo() -> Response:
        return jsonify(identity() | _received())

    @app.get("/slow")
    def slow() -> Response:
        seconds = _number("s", 2, 0, 60)
        time.sleep(seconds)
        return jsonify(identity() | {"slept_s": seconds})

    @app.get("/events")
    def events() -> Response:
        count, every_s = int(_number("n", 600, 1, 3600)), _number("every", 1, 0.01, 60)
        body = stream_with_context(_events(identity(), count, every_s))
        return Response(body, mimetype="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/download")
    def download() -> Response:
        size = int(_number("mb", 10, 0, 1024)) << 20
        headers = {"Content-Length": str(size), "Content-Disposition": 'attachment; filename="download.bin"'}
        return Response(_pattern(size), mimetype="application/octet-stream", headers=headers)

    @app.get("/fail")
    def fail() -> tuple[Response, int]:
        status = int(_number("status", 500, 400, 599))
        return jsonify(identity() | {"failed_with": status}), status

    return app


def _received() -> dict[str, object]:
    """The request as it arrived; its body is hashed piece by piece, and never held whole."""
    digest, length = hashlib.sha256(), 0
    while piece := request.stream.read(len(_CHUNK)):
        digest.update(piece)
        length += len(piece)
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query_string.decode("latin-1"),
        "headers": [list(pair) for pair in request.headers],
        "body": {"length": length, "sha256": digest.hexdigest()},
    }


def _events(who: Mapping[str, object], count: int, every_s: float) -> Iterator[str]:
    for number in range(1, count + 1):
        data = json.dumps({**who, "number": number, "time": time.time()})
        yield f"id: {number}\nevent: tick\ndata: {data}\n\n"
        time.sleep(every_s)


def _pattern(size: int) -> Iterator[bytes]:
    for begin in range(0, size, len(_CHUNK)):
        yield _CHUNK[: size - begin]


def _number(name: str, default: float, low: float, high: float) -> float:
    """A number from the query; answers 400 to one that is none or out of range."""
    try:
        value = float(request.args.get(name, default))
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        abort(Response(f"{name}: expected a number from {low:g} to {high:g}\n", 400, mimetype="text/plain"))
    return value
