"""The fleet's store against a real etcd: what it promises, and what it does when it is down, slow or somebody else."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.fleet.etcd import Etcd
from app.fleet.etcd_gateway import AnswerLost, EtcdAccess, Gateway
from app.fleet.fleet_store import Expect, StoreRefused, StoreUnreachable
from tests.support.etcd_server import EtcdMember, etcd_cluster, etcd_member
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import free_port
from tests.support.waiting import wait_until

ROOT = "/traffic_router/shop/"


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMember]:
    with etcd_member(tmp_path_factory.mktemp("etcd")) as member:
        yield member


Opener = Callable[..., Etcd]


@pytest.fixture
def open_store() -> Iterator[Opener]:
    """Opens stores, and closes their connections in the end."""
    gateways: list[Gateway] = []

    def open_(*endpoints: str, answer_s: float = 2.0, root: str = ROOT, **access: str) -> Etcd:
        gateways.append(Gateway(EtcdAccess(endpoints, **access), answer_s))
        return Etcd(gateways[-1], root)

    yield open_
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def store(member: EtcdMember, open_store: Opener, request: pytest.FixtureRequest) -> Etcd:
    """A root of its own for each test."""
    return open_store(member.endpoint, root=f"/traffic_router/{request.node.name}/")


def test_changes_all_or_nothing_and_only_what_is_as_expected(store: Etcd) -> None:
    first = store.change([Expect("a", 0)], {"a": "1", "empty": "", "ключ": "значение"})
    assert first is not None

    assert store.change([Expect("a", 0)], {"a": "2"}) is None
    assert store.change([Expect("a", first), Expect("b", 7)], {"a": "2"}) is None
    found = store.read("")
    assert {key: it.value for key, it in found.entries.items()} == {"a": "1", "empty": "", "ключ": "значение"}
    assert {it.revision for it in found.entries.values()} == {first} and found.revision >= first

    assert store.change([Expect("a", first)], {"a": "2"}, ["empty", "ключ"]) == first + 1
    assert {key: it.value for key, it in store.read("").entries.items()} == {"a": "2"}


def test_reads_only_what_begins_so(store: Etcd) -> None:
    store.change([], {"nodes/a": "1", "nodes/b": "2", "nodes0": "3", "node": "4"})

    assert sorted(store.read("nodes/").entries) == ["nodes/a", "nodes/b"]


def test_key_goes_with_its_lease(store: Etcd) -> None:
    lease = store.grant(60)
    store.change([], {"node": "here"}, lease=lease)
    assert store.read("").entries["node"].lease == lease and store.keep(lease)

    store.revoke(lease)
    store.revoke(lease)

    assert store.read("").entries == {}
    assert not store.keep(lease)
    assert store.change([], {"node": "here"}, lease=lease) is None


def test_wait_ends_with_a_change_and_with_its_time(store: Etcd, member: EtcdMember, open_store: Opener) -> None:
    other = open_store(member.endpoint, root="/traffic_router/another/")
    revision = store.read("").revision
    began = time.monotonic()
    store.wait("", revision, 0.3)
    assert time.monotonic() - began >= 0.3

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(store.wait, "", revision, 30)
        other.change([], {"a": "1"})
        assert not waiting.done()
        store_of_mine = open_store(member.endpoint, root=store._root)
        store_of_mine.change([], {"a": "1"})
        waiting.result(10)
    store.wait("", revision, 30)  # what had happened before is told of at once


def test_wait_for_what_was_compacted_is_over_at_once(store: Etcd) -> None:
    revision = store.read("").revision
    for value in "123":
        last = store.change([], {"a": value})
    store._gateway.ask("/v3/kv/compaction", {"revision": str(last)})

    began = time.monotonic()
    store.wait("", revision, 30)

    assert time.monotonic() - began < 5


def test_suspended_member_is_told_in_time_and_a_change_is_not_guessed_at(tmp_path: Path, open_store: Opener) -> None:
    with etcd_member(tmp_path) as member:
        store = open_store(member.endpoint, answer_s=0.5)
        revision = store.read("").revision
        member.signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(StoreUnreachable, match="no answer"):
            store.read("")
        with pytest.raises(AnswerLost):
            store.change([], {"a": "1"})
        with pytest.raises(StoreUnreachable, match="no answer"):
            store.wait("", revision, 0.5)
        assert time.monotonic() - began < 8

        member.stop()
        with pytest.raises(StoreUnreachable, match="refused"):
            store.read("")
        with pytest.raises(StoreUnreachable):
            store.wait("", revision, 0.5)


def test_waiting_ends_when_the_server_goes(tmp_path: Path, open_store: Opener) -> None:
    with etcd_member(tmp_path) as member, ThreadPoolExecutor(1) as thread:
        store = open_store(member.endpoint)
        waiting = thread.submit(store.wait, "", store.read("").revision, 60)
        time.sleep(0)
        member.stop()
        try:
            waiting.result(10)
        except StoreUnreachable:
            pass  # it had not begun yet


def test_goes_to_another_member_and_back_to_work_after_the_leader_has_died(tmp_path: Path, open_store: Opener) -> None:
    with etcd_cluster(tmp_path) as (members, known):
        nobody = f"http://127.0.0.1:{free_port()}"
        store = open_store(nobody, *(it.endpoint for it in members), answer_s=2.0)
        before = store.change([], {"a": "1"})
        leader = next(it for it in members if _leads(it))
        leader.stop()

        def changed() -> int | None:
            try:
                return store.change([], {"a": "2"})
            except StoreUnreachable:
                return None

        after = wait_until(changed, "the others have a leader", 20)
        assert before is not None and after > before

        rest = [it for it in members if it is not leader]
        rest[0].stop()
        with pytest.raises(StoreUnreachable):  # one of three is no majority, and says nothing for long
            store.read("")

        leader.start(known)
        assert wait_until(lambda: _value(store, "a"), "two of three are one again", 20) == "2"


def _leads(member: EtcdMember) -> bool:
    status = json.loads(member.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
    return bool(status["leader"] == status["header"]["member_id"])


def _value(store: Etcd, key: str) -> str | None:
    try:
        return store.read("").entries[key].value
    except StoreUnreachable:
        return None


# --- who may -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMember]:
    """With users: `shop` has rights below its root alone. Tokens end after two seconds without use."""
    with etcd_member(tmp_path_factory.mktemp("guarded"), "--auth-token-ttl=2") as member:
        for words in (
            "user add root:super",
            "user grant-role root root",
            "user add shop:secret",
            "role add shop",
            f"role grant-permission shop --prefix=true readwrite {ROOT}",
            "user grant-role shop shop",
            "auth enable",
        ):
            member.etcdctl(*words.split())
        yield member


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("secret\n")
    return path


def test_logs_in_again_when_its_token_has_ended(guarded: EtcdMember, open_store: Opener, password: Path) -> None:
    store = open_store(guarded.endpoint, user="shop", password_file=str(password))
    assert store.change([], {"a": "1"})
    first = store._gateway._token
    assert first

    store._gateway._token = "Xgone.1"
    assert store.read("").entries["a"].value == "1"
    store._gateway._token = "Xgone.1"
    assert store.change([], {"a": "2"})
    guarded.etcdctl("--user=root:super", "role", "add", "another")  # which makes all tokens of before old
    assert store.read("").entries["a"].value == "2"


def test_says_who_is_not_let_in_and_what_may_not_be_done(
    guarded: EtcdMember, member: EtcdMember, open_store: Opener, password: Path
) -> None:
    with pytest.raises(StoreRefused, match="asks who we are"):
        open_store(guarded.endpoint).read("")
    with pytest.raises(StoreRefused, match="no rights on"):
        open_store(guarded.endpoint, user="shop", password_file=str(password), root="/other/").read("")
    with pytest.raises(StoreRefused, match="permission denied"):
        open_store(guarded.endpoint, user="shop", password_file=str(password), root="/other/").wait("", 1, 30)
    with pytest.raises(StoreRefused, match="user is set"):
        open_store(member.endpoint, user="shop", password_file=str(password)).read("")
    with pytest.raises(StoreRefused, match="cannot be read"):
        open_store(guarded.endpoint, user="shop", password_file=str(password) + "0").read("")
    password.write_text("wrong")
    with pytest.raises(StoreRefused, match="does not let shop in") as refused:
        open_store(guarded.endpoint, user="shop", password_file=str(password)).read("")
    assert "wrong\n" not in str(refused.value)


def test_lets_its_wait_end_when_the_token_has_ended(guarded: EtcdMember, open_store: Opener, password: Path) -> None:
    store = open_store(guarded.endpoint, user="shop", password_file=str(password))
    revision = store.read("").revision
    store._gateway._token = "Xgone.1"

    store.wait("", revision, 1)

    assert store.read("").revision >= revision


# --- what etcd cannot be brought to, and who is no etcd ------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"404 page not found\n"),
        (200, b"<html>welcome</html>"),
        (301, b""),
        (400, b"Client sent an HTTP request to an HTTPS server.\n"),
    ],
    ids=["etcd 2", "a web server", "a redirect", "TLS wanted"],
)
def test_tells_who_is_no_etcd(open_store: Opener, status: int, body: bytes) -> None:
    with RawUpstream() as server:
        server.handler = lambda exchange: exchange.send(reply(body, status=b"%d Whatever" % status))
        with pytest.raises(StoreRefused, match="is no etcd"):
            open_store(f"http://127.0.0.1:{server.port}").read("")


class Breaking(RawUpstream):
    """Hands questions on to a real etcd; of a change it hands on as many as `passed`, and always says 500."""

    def __init__(self, member: EtcdMember, *, passes: bool) -> None:
        super().__init__()
        self.handler = self._hand_on
        self._member, self._passes = member, passes

    def _hand_on(self, exchange: Exchange) -> None:
        path, body = exchange.head.start_line.split(b" ")[1].decode(), exchange.read_body()
        is_change = path == "/v3/kv/txn"
        if self._passes or not is_change:
            answer = _posted(self._member.endpoint + path, body)
        if is_change:
            fault: dict[str, Any] = {"error": "etcdserver: request timed out", "code": 2}
            exchange.send(reply(json.dumps(fault).encode(), status=b"500 Internal Server Error"))
        else:
            exchange.send(reply(answer))


def _posted(url: str, body: bytes) -> bytes:
    from urllib.request import Request, urlopen

    with urlopen(Request(url, data=body), timeout=5) as answer:
        return bytes(answer.read())


def test_change_of_which_no_answer_came_is_looked_up(member: EtcdMember, open_store: Opener) -> None:
    with Breaking(member, passes=True) as server:
        store = open_store(f"http://127.0.0.1:{server.port}", root="/traffic_router/lost/")
        made = store.change([Expect("a", 0)], {"a": "1"})
        assert made == store.read("").entries["a"].revision
        assert store.change([Expect("a", 0)], {"a": "2"}) is None
    with Breaking(member, passes=False) as server:
        store = open_store(f"http://127.0.0.1:{server.port}", root="/traffic_router/lost/")
        with pytest.raises(AnswerLost):
            store.change([Expect("b", 0)], {"b": "1"})


def test_wait_reads_lines_however_they_are_cut_up(open_store: Opener) -> None:
    lines = b'{"result":{"created":true}}\n{"result":{"events":[{"kv":{}}]}}\n'

    def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(lines), 7):
            part = lines[at : at + 7]
            exchange.send(b"%x\r\n%s\r\n" % (len(part), part))
        exchange.wait_for_hang_up()

    with RawUpstream() as server:
        server.handler = answer
        began = time.monotonic()
        open_store(f"http://127.0.0.1:{server.port}").wait("", 1, 30)
        assert time.monotonic() - began < 5
