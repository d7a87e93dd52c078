"""The page's `shop:app`, a WSGI application: quick answers, slow ones, and uploads that it takes whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

SLOW_S = {"/slow": 1.0, "/long": 4.0}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    taken = len(environ["wsgi.input"].read(length)) if length else 0
    time.sleep(SLOW_S.get(environ["PATH_INFO"], 0.0))
    body = f"{os.environ['BG_VERSION']} took {taken} of {length}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
