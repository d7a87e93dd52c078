"""TrafficRouter: a claim is laid, the state is read again, and only then a request is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from app.address import Address
from app.errors import NoActiveVersion
from app.routing.router import NO_VERSION, NOWHERE, TrafficRouter
from app.settings.tables.router_settings import RouterConfig
from app.transport.blocking import connect_blocking
from app.transport.limits import TimeLimit
from app.upstream.adapter import UpstreamAdapter
from app.upstream.exchange import ExchangeTimeouts
from app.upstream.fresh import FreshConnections
from app.upstream.messages import UpstreamRequest
from app.upstream.session import UpstreamSession
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.states import put_state
from tests.transport.loopback import closed_address

ROOT = Path(__file__).resolve().parents[2]


class StateFile:
    """A state file, replaced as the deployer does it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bg_state.json"

    def write(self, active: str | None, **ports: int) -> None:
        """Names the active version and the versions' ports."""
        state = {"active_version": active, "versions": {name: {"port": port} for name, port in ports.items()}}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state))
        os.replace(new, self.path)


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    """A state in which blue is active."""
    state = StateFile(tmp_path)
    state.write("blue")
    return state


@dataclass
class CountedClaims:
    """Claims that are counted, with something that happens at the moment of each."""

    meanwhile: list[Callable[[], None]] = field(default_factory=list)
    """What happens right after the first claim, the second, …"""
    open: dict[int, int] = field(default_factory=dict)
    """Claimed version by row."""
    serials: list[int] = field(default_factory=list)
    laid: list[int] = field(default_factory=list)
    """Every version that a claim was laid on, in order."""
    _rows: Iterator[int] = field(default_factory=count)

    def start(self, version: int, method: bytes, target: bytes, now_us: int, request_id: bytes = b"") -> int:
        """Counts a claim."""
        self.laid.append(version)
        row = next(self._rows)
        self.open[row] = version
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return row

    def unclaim(self, row: int, version: int) -> None:
        """Takes it back."""
        assert self.open.pop(row) == version

    def note_state(self, serial: int) -> None:
        """Remembers it."""
        self.serials.append(serial)


def router_of(state: StateFile, claims: CountedClaims | None = None) -> TrafficRouter:
    """A router over a state file."""
    return TrafficRouter(RouterConfig(state_file=str(state.path), read_timeout=5), claims)


# --- claims ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("active", "index", "port"), [("blue", 0, 5005), ("green", 1, 5006)])
def test_claim_is_laid_on_the_active_version(state: StateFile, active: str, index: int, port: int) -> None:
    state.write(active)
    claims = CountedClaims()
    row, target = router_of(state, claims).claim(b"GET", b"/", 0)
    assert (target.version, target.name, target.address.port) == (index, active, port)
    assert target.authority == b"127.0.0.1:%d" % port
    assert claims.open == {row: index}


def test_router_acts_by_a_state_before_it_says_so(state: StateFile) -> None:
    """Whoever stops a version takes the word for it that no idle connection to it is left."""
    claims, said = CountedClaims(), list[tuple[int, bool, int]]()

    class Connections(FreshConnections):
        def keep_idle(self, keeps: bool) -> None:
            said.append((self._address.port, keeps, len(claims.serials)))

    def session(address: Address) -> UpstreamSession:
        limit = TimeLimit(1)
        return UpstreamSession(
            UpstreamAdapter(Connections(address, connect_blocking, limit), ExchangeTimeouts(limit, limit, limit))
        )

    router = TrafficRouter(RouterConfig(state_file=str(state.path)), claims, session)
    router.look()
    assert said == [(5005, True, 0), (5006, True, 0)]
    said.clear()
    put_state(state.path, "blue", {"green": {"status": "stopping"}}, serial=9)
    router.look()
    assert (said, claims.serials) == ([(5005, True, 1), (5006, False, 1)], [0, 9])


def test_switch_between_requests_moves_the_next_claim(state: StateFile) -> None:
    claims = CountedClaims()
    router = router_of(state, claims)
    first = router.claim(b"GET", b"/", 0)[1]
    state.write("green")
    second = router.claim(b"GET", b"/", 0)[1]
    assert (first.name, second.name) == ("blue", "green")
    assert list(claims.open.values()) == [0, 1], "no claim is left behind on blue but the first request's own"


def test_switch_between_claim_and_second_look_moves_the_claim(state: StateFile) -> None:
    claims = CountedClaims()
    router = router_of(state, claims)
    router.claim(b"GET", b"/first", 0)
    claims.laid.clear()
    claims.meanwhile.append(lambda: state.write("green"))
    row, target = router.claim(b"GET", b"/second", 0)
    assert (target.name, claims.open[row]) == ("green", 1)
    assert (claims.laid[:1], set(claims.laid[1:])) == ([0], {1}), "blue was given back, and green claimed instead"
    assert sorted(claims.open.values()) == [0, 1]


def test_claim_follows_a_state_that_keeps_moving(state: StateFile) -> None:
    claims = CountedClaims(
        meanwhile=[
            lambda: state.write("green"),
            lambda: state.write("blue", blue=6001),
            lambda: state.write("green", green=6002),
        ]
    )
    row, target = router_of(state, claims).claim(b"GET", b"/", 0)
    assert (target.name, target.address.port) == ("green", 6002)
    assert claims.open == {row: 1}


def test_new_port_of_the_same_version_is_a_new_state(state: StateFile) -> None:
    claims = CountedClaims(meanwhile=[lambda: state.write("blue", blue=6001)])
    assert router_of(state, claims).claim(b"GET", b"/", 0)[1].address.port == 6001
    assert list(claims.open.values()) == [0]


def test_claim_is_given_back_when_no_version_is_active_any_more(state: StateFile) -> None:
    claims = CountedClaims(meanwhile=[lambda: state.write(None)])
    with pytest.raises(NoActiveVersion):
        router_of(state, claims).claim(b"GET", b"/", 0)
    assert claims.open == {}


def test_nothing_is_claimed_without_an_active_version(state: StateFile) -> None:
    state.write(None)
    claims = CountedClaims()
    with pytest.raises(NoActiveVersion, match="no active version"):
        router_of(state, claims).claim(b"GET", b"/", 0)
    assert claims.laid == []


def test_missing_state_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoActiveVersion, match=r"none\.json is missing"):
        TrafficRouter(RouterConfig(state_file=str(tmp_path / "none.json"))).get_active_port()


def test_last_good_state_stays_in_force(state: StateFile) -> None:
    claims = CountedClaims()
    router = router_of(state, claims)
    router.claim(b"GET", b"/", 0)
    state.path.write_text('{"active_ver')
    assert router.claim(b"GET", b"/", 0)[1].name == "blue"
    state.path.unlink()
    assert router.claim(b"GET", b"/", 0)[1].name == "blue"
    assert "missing" in router.state.fault
    state.write("green")
    assert router.claim(b"GET", b"/", 0)[1].name == "green"


def test_version_that_comes_up_is_found(state: StateFile) -> None:
    state.write(None)
    router = router_of(state)
    with pytest.raises(NoActiveVersion):
        router.get_active_port()
    state.write("green")
    assert router.get_active_port() == 5006


def test_claims_need_not_be_counted(state: StateFile) -> None:
    row, target = router_of(state).claim(b"GET", b"/", 0)
    assert (row, target.name) == (-1, "blue")


def test_nowhere_is_no_place_to_send_to() -> None:
    assert NOWHERE.version == NO_VERSION
    with pytest.raises(NoActiveVersion):
        NOWHERE.send(UpstreamRequest(Address(""), b"GET", b"/", b"GET / HTTP/1.1\r\n\r\n"))


def test_sessions_are_made_once_for_each_port(state: StateFile) -> None:
    made: list[int] = []
    inner = router_of(state)

    def open_session(address: Address) -> object:
        made.append(address.port)
        return inner.session(address)

    router = TrafficRouter(inner.config, None, open_session)  # type: ignore[arg-type]  # a recording stand-in
    for active in ("blue", "green", "blue", "green"):
        state.write(active)
        router.claim(b"GET", b"/", 0)
    assert made == [5005, 5006]


# --- one request from plain Python ----------------------------------------------------------------------------


def test_claim_of_a_plain_request_lasts_as_long_as_the_request(state: StateFile) -> None:
    claims = CountedClaims()
    with RawUpstream() as upstream:
        state.write("blue", blue=upstream.port)
        during: list[list[int]] = []

        def answer(exchange: Exchange) -> None:
            during.append(list(claims.open.values()))
            exchange.send(reply(b"ok"))

        upstream.handler = answer
        assert router_of(state, claims).proxy_request("GET", "/", {"Host": "x"})[2] == b"ok"
    assert (during, claims.open) == ([[0]], {})


def test_claim_of_a_failed_request_is_given_back(state: StateFile) -> None:
    claims = CountedClaims()
    state.write("blue", blue=closed_address()[1])
    assert router_of(state, claims).proxy_request("GET", "/", {"Host": "x"})[0] == 502
    assert claims.open == {}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("CONNECT", "/", {"Host": "x"}, 405),
        ("TRACE", "/", {"Host": "x"}, 405),
        ("G T", "/", {"Host": "x"}, 400),
        ("GET", "no-slash", {"Host": "x"}, 400),
        ("GET", "/a b", {"Host": "x"}, 400),
        ("GET", "/", {"Host": "a b"}, 400),
        ("GET", "/", {"Host": "x", "A b": "1"}, 400),
        ("GET", "/", {"Host": "x", "A": "\x00"}, 400),
    ],
)
def test_request_that_a_client_could_not_send_is_refused(
    state: StateFile, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert router_of(state).proxy_request(method, path, headers)[0] == status


def test_too_many_fields_are_refused(state: StateFile) -> None:
    assert router_of(state).proxy_request("GET", "/", [("Host", "x"), *[("A", "1")] * 300])[0] == 431


def test_answer_that_breaks_off_is_a_bad_gateway(state: StateFile) -> None:
    with RawUpstream() as upstream:
        state.write("blue", blue=upstream.port)
        upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", then_close=True)
        status, headers, body = router_of(state).proxy_request("GET", "/", {"Host": "x"})
    assert (status, body, headers["Content-Length"]) == (502, b"Bad gateway", "11")


PROGRAM = """
import json, sys
from utils.traffic_router import RouterConfig, TrafficRouter

router = TrafficRouter(RouterConfig(state_file=sys.argv[1]))
headers = [("Host", "shop.test"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("x-Odd", "\\xe9")]
status, fields, body = router.proxy_request("REPORT", "/a/../b?%7e", headers, b"question")
json.dump(
    {
        "status": status,
        "cookies": fields.getlist("Set-Cookie"),
        "body": body.decode(),
        "loaded": sorted({"gevent", "flask", "gunicorn"} & set(sys.modules)),
    },
    sys.stdout,
)
"""


def test_plain_python_needs_no_gevent_and_keeps_repeated_fields(state: StateFile) -> None:
    with RawUpstream() as upstream:
        state.write("green", green=upstream.port)
        upstream.answers(reply(b"answer", b"207 Multi-Status", [(b"Set-Cookie", b"c=3"), (b"Set-Cookie", b"d=4")]))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(state.path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seen = upstream.only
    assert json.loads(done.stdout) == {"status": 207, "cookies": ["c=3", "d=4"], "body": "answer", "loaded": []}
    assert (seen.method, seen.target, seen.body) == (b"REPORT", b"/a/../b?%7e", b"question")
    assert seen.head.values(b"Cookie") == [b"a=1", b"b=2"]
    assert seen.head.value(b"x-Odd") == b"\xe9"
    assert seen.head.value(b"X-Forwarded-For") == b"127.0.0.1"
