"""A long answer by Flask, for its development server."""

from __future__ import annotations

import time

import flask

app = flask.Flask(__name__)


@app.get("/")
@app.get("/long")
def answer() -> str:
    time.sleep(4.0 if flask.request.path == "/long" else 0.0)
    return "ok"
