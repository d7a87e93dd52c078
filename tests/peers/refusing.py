"""Servers with an application that answers without reading the request's body."""

from __future__ import annotations

from tests.peers.peers import PEERS_PYTHON
from tests.support.router_process import ROOT

__all__ = ["SERVERS"]

_GUNICORN = f"{PEERS_PYTHON} -m gunicorn --no-control-socket --keep-alive 75 -b 127.0.0.1:{{port}}"
_WSGI, _ASGI = "tests.support.apps.refusing_app:app", "tests.support.apps.refusing_app:asgi"
_APPS = ROOT / "tests" / "support" / "apps"

SERVERS = {
    "gunicorn-sync": f"{_GUNICORN} -w 2 {_WSGI}",
    "gunicorn-gthread": f"{_GUNICORN} -k gthread --threads 8 {_WSGI}",
    "gunicorn-gevent": f"{_GUNICORN} -k gevent {_WSGI}",
    "gunicorn-asgi": f"{_GUNICORN} -k asgi {_ASGI}",
    "uvicorn-h11": f"{PEERS_PYTHON} -m uvicorn --log-level warning --http h11 --port {{port}} {_ASGI}",
    "uvicorn-httptools": f"{PEERS_PYTHON} -m uvicorn --log-level warning --http httptools --port {{port}} {_ASGI}",
    "hypercorn": f"{PEERS_PYTHON} -m hypercorn -b 127.0.0.1:{{port}} {_ASGI}",
    "granian": f"{PEERS_PYTHON} -m granian --interface asgi --port {{port}} {_ASGI}",
    "waitress": f"{PEERS_PYTHON} -m waitress --listen=127.0.0.1:{{port}} {_WSGI}",
    "node": f"node {_APPS / 'refusing.js'} {{port}}",
    "php": f"php -S 127.0.0.1:{{port}} {_APPS / 'refusing.php'}",
}
"""Command lines, in the words of a shell without quotes."""
