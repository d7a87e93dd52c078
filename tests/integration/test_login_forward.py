"""Paths that an auth service opens: what it is asked, what its answers do, and what becomes of bad ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.holding import request
from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

TOML = """
[[login]]
name = "admin"
path = ["/internal/*"]
[login.forward]
url = "http://localhost:{port}/oauth2/auth?x=1"
copy = ["X-Auth-Request-User", "Remote-Groups"]
sign_in = "https://auth.test/oauth2/start?rd={{url}}&p={{path}}"
timeout = 1

[[login]]
name = "plain"
path = ["/plain"]
forward = {{ url = "http://127.0.0.1:{port}/auth" }}

[[login]]
name = "watched"
path = ["/watched"]
mode = "observe"
forward = {{ url = "http://127.0.0.1:{port}/auth", timeout = 1 }}
"""

LETS_PASS = reply(
    b"",
    b"202 Accepted",
    [
        (b"X-Auth-Request-User", b"ada"),
        (b"remote-groups", b"a,b"),
        (b"X-Not-Asked-For", b"1"),
        (b"Set-Cookie", b"_oauth2_proxy=new; Path=/"),
        (b"Set-Cookie", b"second=1"),
    ],
)
BROWSER = b"Accept: text/html,*/*\r\n"


@pytest.fixture
def auth() -> Iterator[RawUpstream]:
    with RawUpstream() as auth:
        auth.answers(LETS_PASS)
        yield auth


@pytest.fixture
def router(tmp_path: Path, blue: RawUpstream, auth: RawUpstream) -> Iterator[RouterProcess]:
    with configured_router(tmp_path, blue.port, TOML.format(port=auth.port)) as router:
        yield router


def visit(
    router: RouterProcess, target: bytes = b"/internal/x?a=b", fields: bytes = b"", method: bytes = b"GET"
) -> Response:
    return router.ask(request(method, target, fields=fields))


def test_who_is_let_in_passes_with_the_fields_that_are_copied(
    router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    answer = visit(router)
    assert (answer.status, answer.body) == (200, b"blue")
    assert answer.head.values(b"Set-Cookie") == [b"_oauth2_proxy=new; Path=/", b"second=1"]
    head = blue.only.head
    assert head.values(b"X-Auth-Request-User") == [b"ada"]
    assert head.values(b"Remote-Groups") == [b"a,b"]
    assert head.value(b"X-Not-Asked-For") is None


def test_it_is_asked_with_what_the_client_sent_but_the_body(
    router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    fields = (
        b"Cookie: s=1\r\nAuthorization: Basic YTpi\r\nContent-Type: text/x\r\nIf-None-Match: *\r\nRange: bytes=0-1\r\n"
    )
    forged = (
        b"X-Forwarded-Uri: /open\r\nX-Forwarded-Method: GET\r\nRemote_Groups: root\r\nX-Auth-Request-User: root\r\n"
    )
    assert router.ask(request(b"POST", b"/internal/x?a=b", b"once", fields + forged)).status == 200
    head = auth.only.head
    assert head.raw.startswith(b"GET /oauth2/auth?x=1 HTTP/1.1\r\nHost: localhost:%d\r\n" % auth.port)
    assert head.values(b"X-Forwarded-Method") == [b"POST"]
    assert head.values(b"X-Forwarded-Uri") == [b"/internal/x?a=b"]
    assert head.values(b"X-Forwarded-Host") == [b"x.test"]
    assert head.values(b"X-Forwarded-Proto") == [b"http"]
    assert head.values(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert (head.value(b"Cookie"), head.value(b"Authorization")) == (b"s=1", b"Basic YTpi")
    for name in (b"Content-Length", b"Content-Type", b"Transfer-Encoding", b"If-None-Match", b"Range"):
        assert head.value(name) is None
    assert b"root" not in head.raw
    sent = blue.only
    assert (sent.body, sent.head.value(b"Cookie"), sent.head.value(b"If-None-Match")) == (b"once", b"s=1", b"*")
    assert b"root" not in sent.head.raw


def test_its_connection_is_used_again(router: RouterProcess, auth: RawUpstream) -> None:
    for _ in range(5):
        assert visit(router).status == 200
    assert len(auth.exchanges) == 5
    assert len(auth.connections) == 1


def test_browser_without_a_login_is_sent_to_sign_in_and_back(
    router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    auth.answers(reply(b"no", b"401 Unauthorized"))
    answer = visit(router, fields=BROWSER)
    assert answer.status == 302
    where = b"https://auth.test/oauth2/start?rd=http%3A%2F%2Fx.test%2Finternal%2Fx%3Fa%3Db&p=%2Finternal%2Fx%3Fa%3Db"
    assert answer.value(b"Location") == where
    assert answer.value(b"Cache-Control") == b"no-store"
    assert blue.exchanges == []


@pytest.mark.parametrize(("fields", "method"), [(b"", b"GET"), (BROWSER, b"POST")])
def test_program_without_a_login_gets_the_answer_of_the_service(
    fields: bytes, method: bytes, router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    auth.answers(reply(b"no", b"401 Unauthorized", [(b"WWW-Authenticate", b"Basic"), (b"Set-Cookie", b"csrf=1")]))
    answer = visit(router, fields=fields, method=method)
    assert (answer.status, answer.body) == (401, b"no")
    assert answer.value(b"WWW-Authenticate") == b"Basic"
    assert answer.value(b"Set-Cookie") == b"csrf=1"
    assert blue.exchanges == []


@pytest.mark.parametrize("status", [b"302 Found", b"303 See Other", b"307 Temporary Redirect"])
def test_its_redirect_goes_to_the_client_and_is_not_followed(
    status: bytes, router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    auth.answers(reply(b"", status, [(b"Location", b"http://127.0.0.1:%d/oauth2/auth" % auth.port)]))
    answer = visit(router, fields=BROWSER)
    assert answer.status == int(status[:3])
    assert answer.value(b"Location") == b"http://127.0.0.1:%d/oauth2/auth" % auth.port
    assert len(auth.exchanges) == 1
    assert blue.exchanges == []


def hang(exchange: Exchange) -> None:
    exchange.wait_for_hang_up()


def trickle(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n")
    try:
        for _ in range(100):
            exchange.send(b"x")
            time.sleep(0.1)
    except OSError:
        pass


BAD_ANSWERS: dict[str, Callable[[Exchange], None]] = {
    "hangs": hang,
    "trickles": trickle,
    "resets": lambda exchange: exchange.reset(),
    "fails": lambda exchange: exchange.send(reply(b"", b"500 Internal Server Error")),
    "talks rubbish": lambda exchange: exchange.send(b"SSH-2.0\r\n\r\n"),
    "switches protocols": lambda exchange: exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "sends 2 MiB of fields": lambda exchange: exchange.send(reply(b"", fields=[(b"X-A", b"a" * 30_000)] * 70)),
}


@pytest.mark.parametrize("how", BAD_ANSWERS)
def test_service_that_answers_badly_lets_nobody_in(
    how: str, router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    def answer_badly(exchange: Exchange) -> None:
        try:
            BAD_ANSWERS[how](exchange)
        except OSError:
            pass  # the router has hung up

    auth.handler = answer_badly
    began = time.monotonic()
    answer = visit(router)
    assert (answer.status, answer.text) == (503, "Login unavailable")
    assert answer.value(b"Retry-After") == b"5"
    assert time.monotonic() - began < 5
    assert blue.exchanges == []
    wait_until(lambda: f"auth service localhost:{auth.port}: " in router.log, "the reason in the log")


def test_service_that_is_down_lets_nobody_in_and_everybody_again_when_it_is_back(
    router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    assert visit(router).status == 200
    port = auth.port
    auth.refuse()
    auth.hang_up()
    assert visit(router).status == 503
    assert visit(router, b"/open").status == 200
    with RawUpstream(port) as back:
        back.answers(LETS_PASS)
        assert visit(router).status == 200


def test_long_page_of_a_refusal_is_left_out(router: RouterProcess, auth: RawUpstream) -> None:
    auth.answers(reply(b"x" * 100_000, b"403 Forbidden"))
    answer = visit(router)
    assert (answer.status, answer.body) == (403, b"")
    auth.answers(reply(b"x" * 60_000, b"403 Forbidden"))
    assert len(visit(router).body) == 60_000
    assert visit(router, method=b"HEAD").status == 403


def test_client_that_leaves_is_not_asked_about_any_more(
    router: RouterProcess, blue: RawUpstream, auth: RawUpstream
) -> None:
    gone = threading.Event()

    def wait(exchange: Exchange) -> None:
        if exchange.wait_for_hang_up():
            gone.set()

    auth.handler = wait
    with router.connect() as client:
        client.send(request(target=b"/plain"))
        auth.next_exchange()
    assert gone.wait(10)
    line = router.logged(lambda line: line["path"] == "/plain")
    assert (line["status"], line["cause"]) == (499, "client_disconnected")
    assert blue.exchanges == []


def test_others_go_on_while_it_hangs(router: RouterProcess, auth: RawUpstream) -> None:
    auth.handler = hang
    with router.connect() as client:
        client.send(request(target=b"/plain"))
        auth.next_exchange()
        began = time.monotonic()
        assert all(visit(router, b"/open").status == 200 for _ in range(20))
        assert time.monotonic() - began < 2


def test_mode_observe_asks_and_lets_everybody_pass(router: RouterProcess, blue: RawUpstream, auth: RawUpstream) -> None:
    auth.answers(reply(b"no", b"403 Forbidden"))
    assert visit(router, b"/watched").status == 200
    auth.handler = hang
    assert visit(router, b"/watched").status == 200
    assert len(auth.exchanges) == 2
    wait_until(lambda: "login watched would refuse (auth_server_down)" in router.log, "it in the log")


def test_trusted_proxy_s_word_reaches_the_service(tmp_path: Path, blue: RawUpstream, auth: RawUpstream) -> None:
    with configured_router(tmp_path, blue.port, TOML.format(port=auth.port), forwarded_hops=1) as router:
        fields = b"X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n"
        forged = b"X-Forwarded-Uri: /open\r\nX-Forwarded-Method: HEAD\r\n"
        assert visit(router, fields=fields + forged).status == 200
        auth.answers(reply(b"no", b"401 Unauthorized"))
        moved = visit(router, fields=fields + BROWSER)
    head = auth.exchanges[0].head
    assert head.value(b"X-Forwarded-For") == b"10.0.0.9, 127.0.0.1"
    assert head.values(b"X-Forwarded-Proto") == [b"https"]
    assert head.values(b"X-Forwarded-Host") == [b"shop.test"]
    assert head.values(b"X-Forwarded-Uri") == [b"/internal/x?a=b"]
    assert head.values(b"X-Forwarded-Method") == [b"GET"]
    assert (moved.value(b"Location") or b"").startswith(b"https://auth.test/oauth2/start?rd=https%3A%2F%2F")
