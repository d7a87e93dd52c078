"""A folder of somebody who has the package, with an application in it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.installed import Installed
from tests.support.raw_client import ask
from tests.support.router_process import free_port

__all__ = ["Home"]

APP = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = " ".join([os.environ["BG_VERSION"], os.environ["BG_RELEASE"], os.environ["PATH"]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.01)
"""

WRONG = "raise SystemExit('somebody else's module')\n"


class Home:
    """A folder with an application, and with modules that have the names of ours."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.installed, self.folder, self.port = installed, folder, free_port()
        folder.mkdir()
        (folder / "app.py").write_text(APP)
        for name in ("requests.py", "gevent.py", "gunicorn.conf.py"):
            (folder / name).write_text(WRONG)
        (folder / "traffic_router.toml").write_text(
            f"main_port = {self.port}\nworkers = 1\ngraceful_timeout = 5\n[app]\nhealthy_after = 1\n"
            f"command = 'python3 -I app.py {{port}}'\nblue_port = {free_port()}\ngreen_port = {free_port()}\n"
        )

    def must(self, *words: str) -> str:
        return self.installed.must(*words, home=self.folder)

    def ask(self, path: str = "/") -> str:
        return ask(self.port, f"GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n".encode()).body.decode()

    def advice(self) -> str:
        """What the router's health report says to do."""
        return str(json.loads(self.ask("/__router_health"))["situation"]["advice"])

    def end(self) -> None:
        self.installed.run("traffic_router", "stop", home=self.folder)
        for version in ("blue", "green"):
            self.installed.run("blue_green_deploy", "stop", version, "--force", home=self.folder)
