"""Between WSGI and our own request: the environ for the router's own pages, and requests from a stock worker."""

from __future__ import annotations

import io
import sys
from time import monotonic_ns
from typing import Any
from urllib.parse import unquote_to_bytes

from app.protocol.forwarding import Forwarding
from app.proxy.client_request import ClientRequest, InputBody, request_parser
from app.settings.tables.router_settings import RouterConfig

__all__ = ["RELAYED_KEY", "REQUEST_KEY", "request_from_wsgi", "who_asks", "wsgi_environ"]

REQUEST_KEY = "traffic_router.request"
"""Where `RouterWorker` puts the request as it came; the rest of the environ is made for pages that need it."""


RELAYED_KEY = "traffic_router.relayed"
"""Whether the request came through a proxy that nobody has told us of."""


def wsgi_environ(request: ClientRequest, config: RouterConfig) -> dict[str, Any]:
    """The environ of PEP 3333 for a request of the router's own pages; their bodies are small and read whole."""
    head = request.head
    target, _, query = head.target.partition(b"?")
    body = b""
    if request.body is not None and isinstance(head.content_length, int):
        body = request.body.take_buffered()
    environ: dict[str, Any] = {
        REQUEST_KEY: request,
        "REQUEST_METHOD": head.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(target).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": str(config.main_port),
        "SERVER_PROTOCOL": "HTTP/1.0" if head.http10 else "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **who_asks(request),
    }
    for name, value in head.fields:
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1").strip()
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def who_asks(request: ClientRequest) -> dict[str, Any]:
    """What an environ says of the client, as far as trusted proxies vouch for it."""
    scheme = "https" if request.forwarding.is_secure(request.head) else "http"
    return {
        "REMOTE_ADDR": request.client_address,
        "wsgi.url_scheme": scheme,
        RELAYED_KEY: request.forwarding.is_relayed(request.head),
    }


def request_from_wsgi(environ: dict[str, Any], config: RouterConfig) -> ClientRequest:
    """The request of a stock gunicorn worker. Raises what `RequestParser.parse` raises.

    Field names come in upper case and in no order, repeated ones joined: what WSGI loses is lost.
    """
    method = environ["REQUEST_METHOD"]
    target = environ.get("RAW_URI") or environ["PATH_INFO"]
    lines = [f"{method} {target} {environ['SERVER_PROTOCOL']}\r\n"]
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").title()
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            name = key.replace("_", "-").title()
        else:
            continue
        lines.append(f"{name}: {value}\r\n")
    raw = ("".join(lines) + "\r\n").encode("latin-1")
    head = request_parser(config).parse(raw)
    body = None
    if head.has_body:
        body = InputBody(environ["wsgi.input"].read, head.chunked, config.max_body_bytes)
    peer = environ.get("REMOTE_ADDR") or "127.0.0.1"
    scheme = environ["wsgi.url_scheme"].encode()
    forwarding = Forwarding(peer.encode(), scheme, config.main_port, config.forwarded_hops)
    return ClientRequest(head, body, None, forwarding, monotonic_ns() // 1000, False)
