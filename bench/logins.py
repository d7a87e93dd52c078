"""What a login costs: a token that is known, one that is new, and an auth service, beside nginx and Traefik.

Usage: bench-logins [--rounds=N]

Options:
  --rounds=N  rounds, each with a turn of every kind [default: 5]

1. CPU per request of each proxy, saturated, for a path without a login and with one, in turns. The auth service is the
   origin, which says yes to everything; its CPU is not counted. nginx asks it by auth_request, Traefik by ForwardAuth.
2. What others notice while 500 new tokens a second are verified: the 99th percentile of a steady load, in turns.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.accounting import cpu_seconds
from bench.balancers import BALANCERS
from bench.benchmark import Bench
from bench.load import apply_load
from bench.origin import run_origin
from bench.peers import PEERS, installed, start_peers
from bench.processes import Cores, Server
from bench.router import router
from bench.table import figure, render_table

__all__ = ["run"]

TURN_S = 3
CONNECTIONS = 32
NEW_PER_S = 500

TOML = """
[[login]]
name = "token"
path = ["/token"]
jwt = {{ issuer = "bench", audience = "bench", jwks = "{keys}", algorithms = ["RS256"] }}

[[login]]
name = "asked"
path = ["/asked"]
forward = {{ url = "http://127.0.0.1:{origin}/auth" }}
"""

_NGINX = """        location = /auth {{
            internal;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
        }}
        location = /asked {{
            auth_request /auth;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
        }}
        location / {{
"""

_TRAEFIK = """  middlewares: {{ asks: {{ forwardAuth: {{ address: "http://127.0.0.1:{origin}/auth" }} }} }}
  routers:
    asked: {{ rule: "Path(`/asked`)", service: origin, entryPoints: [web], middlewares: [asks] }}
    all: {{ rule: "PathPrefix(`/`)", service: origin, entryPoints: [web] }}
"""

ASKING: Final = {
    "nginx": replace(PEERS["nginx"], config=PEERS["nginx"].config.replace("        location / {{\n", _NGINX, 1)),
    "traefik": replace(
        BALANCERS["traefik"],
        config="".join(
            _TRAEFIK if line.startswith("  routers:") else line
            for line in BALANCERS["traefik"].config.splitlines(keepends=True)
        ),
    ),
}


class Tokens:
    """Signs tokens, none of them twice."""

    def __init__(self, keys: Path) -> None:
        self._key = generate_private_key(65537, 2048)
        self._numbers = count()
        public = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        keys.write_bytes(public)

    def new(self) -> str:
        """One that nobody has seen."""
        claims = {"iss": "bench", "aud": "bench", "sub": str(next(self._numbers)), "exp": int(time.time()) + 3600}
        return jwt.encode(claims, self._key, "RS256")


@contextmanager
def arriving(port: int, tokens: list[str]) -> Iterator[None]:
    """New tokens arrive, evenly, until the block is left."""
    is_over = threading.Event()

    def send() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            began = time.monotonic()
            for number, token in enumerate(tokens):
                is_over.wait(max(0.0, began + number / NEW_PER_S - time.monotonic()))
                if is_over.is_set():
                    return
                client.sendall(f"GET /token HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("a token was refused")

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join()


def cpu_us(server: Server, path: str, cores: Cores, fields: tuple[str, ...] = ()) -> float:
    """CPU of a saturated proxy for one request."""
    before_s = cpu_seconds(server.pid)  # of all threads
    load = apply_load(server.port, path, TURN_S, CONNECTIONS, cores.load, fields)
    if load.errors:
        raise RuntimeError(f"{server.name}: {load.errors} answers to {path} were no success")
    return (cpu_seconds(server.pid) - before_s) * 1e6 / load.requests


def report_cpu(servers: Mapping[str, Server], token: str, rounds: int, cores: Cores) -> None:
    """A table of what logins cost each of the proxies."""
    shown = f"Authorization: Bearer {token}"
    kinds: list[tuple[str, str, str, tuple[str, ...]]] = [("router, known token", "router", "/token", (shown,))]
    kinds += [(f"{name}, no login", name, "/open", ()) for name in servers]
    kinds += [(f"{name}, auth service", name, "/asked", ()) for name in servers]
    found: dict[str, list[float]] = {title: [] for title, *_ in kinds}
    for _ in range(rounds):
        kinds.append(kinds.pop(0))
        for title, name, path, fields in kinds:
            found[title].append(cpu_us(servers[name], path, cores, fields))
    rows = []
    for title, values in found.items():
        base = statistics.median(found[f"{title.partition(',')[0]}, no login"])
        middle = statistics.median(values)
        rows.append([title, figure(middle, 1), figure(middle - base, 1)])
    print(render_table(("", "CPU µs/request", "beside no login"), sorted(rows)), flush=True)


def report_p99(server: Server, tokens: Tokens, rounds: int, cores: Cores) -> None:
    """What new tokens do to the others."""
    alone, beside = [], []
    for _ in range(rounds):
        new = [tokens.new() for _ in range(NEW_PER_S * (TURN_S + 1))]
        alone.append(apply_load(server.port, "/open", TURN_S, 4, cores.load).p99_us)
        with arriving(server.port, new):
            beside.append(apply_load(server.port, "/open", TURN_S, 4, cores.load).p99_us)
    ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    print(f"\np99 of others: {statistics.median(alone):.0f} µs alone, {statistics.median(beside):.0f} µs beside")
    print(f"{NEW_PER_S} new tokens a second; round by round {ratio:.2f} ×")


def run(bench: Bench) -> None:
    """Both."""
    rounds, cores, folder = bench.count("--rounds"), bench.cores, bench.folder
    tokens = Tokens(folder / "keys.pem")
    with ExitStack() as stack:
        origin = stack.enter_context(run_origin(folder / "origin", cores))
        (folder / "router").mkdir()
        toml = TOML.format(keys=folder / "keys.pem", origin=origin.port)
        (folder / "router" / "traffic_router.toml").write_text(toml)
        us = stack.enter_context(router(folder / "router", origin.port, cores.proxy))
        servers = {"router": us, **start_peers(stack, installed(ASKING), folder, [origin.port], cores)}
        report_cpu(servers, tokens.new(), rounds, cores)
        report_p99(us, tokens, rounds, cores)
