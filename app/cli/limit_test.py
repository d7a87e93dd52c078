"""`test`: whether a limit refuses a request whose key has nothing left.

The application has no part in it: what the key has left is taken from it in the file that the workers count in, the
one request of the test is refused, and the key gets back what it had.
"""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic_ns

from app.cli.router_client import RouterClient
from app.limits.gcra import LATE_NS
from app.limits.in_flight import InFlight
from app.limits.key_hash import KeyHash
from app.limits.limits_file import LimitsFile, open_limits, read_limits
from app.limits.rate import Rate
from app.limits.rate_cells import RateCells
from app.protocol.forwarding import Forwarding
from app.proxy.client_request import ClientRequest, request_parser
from app.proxy.limit_keys import key_of
from app.settings.loading import Loaded
from app.settings.tables.limit_settings import LimitConfig
from app.transport.loopback import refuse_itself

__all__ = ["limit_refuses"]

_TIMEOUT_S = 5.0


def limit_refuses(loaded: Loaded, client: RouterClient, limit: LimitConfig) -> tuple[bool, str]:
    """Whether the limit refuses, and what was seen."""
    if limit.dry_run:
        return True, "refuses nothing: dry_run is on"
    if limit.needs_login:
        return True, "not tested: whose requests it counts is only known after a login"
    path = Path(loaded.config.limits_path)
    if read_limits(path) is None:
        return False, f"the router counts no limits in {path}; a reload takes them up"
    method, target = (limit.methods or ("GET",))[0], (limit.path or ("/",))[0].removesuffix("*")
    try:
        with closing(http.client.HTTPConnection(client.host, client.port, timeout=_TIMEOUT_S)) as connection:
            connection.connect()
            refuse_itself(connection.sock, client.port)
            fields = _fields(limit)
            peer = connection.sock.getsockname()[0]
            with closing(open_limits(path)) as file:
                key = _hash_of(loaded, limit, file, peer, f"{method} {target}", fields)
                give_back = _take_away(file, limit, key)
                try:
                    connection.request(method, target, headers=fields)
                    answer = connection.getresponse()
                finally:
                    give_back()
    except (OSError, http.client.HTTPException) as error:
        return False, str(error) or type(error).__name__
    said = answer.getheader("RateLimit", "")
    seen = f"{method} {target} beyond {limit.rate or f'{limit.in_flight} in flight'} was answered {answer.status}"
    if answer.status == 429 and said.startswith(f'"{limit.name}"'):
        return True, f"{seen}, Retry-After {answer.getheader('Retry-After')} s"
    return False, f"{seen}{f' by {said}' if said else ''}; a reload takes new limits up"


def _fields(limit: LimitConfig) -> dict[str, str]:
    """What gives the request a key of its own, where it can have one."""
    fields = {"User-Agent": "traffic_router", "Connection": "close"}
    for part in limit.key:
        kind, _, name = part.partition(":")
        if kind == "header":
            fields[name] = secrets.token_hex(8)
        elif kind == "cookie":
            fields["Cookie"] = "; ".join(filter(None, (fields.get("Cookie"), f"{name}={secrets.token_hex(8)}")))
    return fields


def _hash_of(
    loaded: Loaded, limit: LimitConfig, file: LimitsFile, peer: str, asked: str, fields: dict[str, str]
) -> int:
    """The key of such a request from `peer`, as the router will find it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = request_parser(loaded.config).parse(f"{asked} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    forwarding = Forwarding(peer.encode(), b"http", loaded.config.main_port, loaded.config.forwarded_hops)
    request = ClientRequest(head, None, None, forwarding, 0, False)
    return KeyHash(file.secret, limit).of(key_of(limit.key)(request, {}))


def _take_away(file: LimitsFile, limit: LimitConfig, key: int) -> Callable[[], object]:
    """Leaves the key nothing; gives what undoes that."""
    if limit.rate:
        rate, cells = Rate.parse(limit.rate, limit.burst), RateCells(file.words)
        # Beyond what any request could have used, or a key of a high rate had something again by the time of the test.
        before = cells.put(key, monotonic_ns() + rate.span_ns + int(limit.delay * 1e9) + LATE_NS // 2)
        return lambda: cells.put(key, before)
    table, places = InFlight(file), list[int]()
    while len(places) < limit.in_flight and (place := table.enter(key, limit.in_flight)) > 0:
        places.append(place)
    return partial(_leave, table, places)


def _leave(table: InFlight, places: list[int]) -> None:
    for place in places:
        table.leave(place)
