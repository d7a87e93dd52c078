"""A WSGI application without a framework: 200 and the version's name for everything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Read the body and answer."""
    environ["wsgi.input"].read()
    body = os.environ["BG_VERSION"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
