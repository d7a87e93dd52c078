"""A preview shows the standby to whoever has a token; no application sees the token, no figure the visit."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from app.state.preview_token import sign
from tests.integration.holding import GET, request, wait_held
from tests.support.raw_client import Response
from tests.support.raw_upstream import RawUpstream, answering, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, free_port
from tests.support.states import pause_for, put_state
from tests.support.wire import Field

KEY = "key-of-this-test"
OURS = re.compile(rb"router.preview", re.IGNORECASE)


def token(version: str = "green", lasts_s: float = 600, key: str = KEY) -> bytes:
    """One that shows the standby, as a rule."""
    return sign(key, version, time.time() + lasts_s).encode()


class Site:
    """A router with both versions running, blue being active."""

    def __init__(self, router: RouterProcess, blue: RawUpstream, green: RawUpstream) -> None:
        self.router, self.blue, self.green = router, blue, green
        blue.answers(reply(b"blue"))
        green.answers(reply(b"green", fields=[(b"Cache-Control", b"public")]))
        self.put()

    def put(self, active: str = "blue", **top: object) -> None:
        """Write the state."""
        versions = {"blue": {"port": self.blue.port}, "green": {"port": self.green.port}}
        put_state(self.router.state_file, active, versions, **{"preview_key": KEY, **top})

    def ask(self, target: bytes = b"/r", fields: bytes = b"", method: bytes = b"GET", body: bytes = b"") -> Response:
        """One request; whatever became of it, no application has seen a token."""
        answer = self.router.ask(request(method, target, body, fields))
        for exchange in (*self.blue.exchanges, *self.green.exchanges):
            assert not OURS.search(exchange.head.raw)
        return answer


@pytest.fixture
def site(pair: Pair) -> Iterator[Site]:
    """The module's router with a standby."""
    router, blue = pair
    with RawUpstream() as green:
        yield Site(router, blue, green)
        assert green.faults == []
        router.set_state("blue", blue=blue.port)


class TestWays:
    """Link, cookie and field."""

    def test_link_leads_to_the_clean_address_and_a_cookie_to_the_standby(self, site: Site) -> None:
        good = token()
        answer = site.ask(b"/shop?a=1&__router_preview=%b&b=%%20x" % good)
        assert (answer.status, answer.value(b"Location")) == (303, b"/shop?a=1&b=%20x")
        assert answer.value(b"Cache-Control") == b"no-store"
        assert answer.value(b"Referrer-Policy") == b"no-referrer"
        assert answer.value(b"Clear-Site-Data") == b'"cache"'
        cookie, *attributes = (answer.value(b"Set-Cookie") or b"").split(b"; ")
        assert cookie == b"__router_preview=" + good
        assert {b"Path=/", b"HttpOnly", b"SameSite=Lax"} < set(attributes)
        (lasts,) = [int(found[8:]) for found in attributes if found.startswith(b"Max-Age=")]
        assert 590 < lasts <= 600
        assert site.green.exchanges == []
        assert site.ask(b"/shop?a=1&b=%20x", b"Cookie: a=1; %b; b=2\r\n" % cookie).body == b"green"
        assert site.green.only.target == b"/shop?a=1&b=%20x"
        assert site.green.only.head.values(b"Cookie") == [b"a=1; b=2"]

    def test_link_ends_a_preview_before_its_time(self, site: Site) -> None:
        answer = site.ask(b"/shop?__router_preview=off&a", b"Cookie: __router_preview=" + token() + b"\r\n")
        assert (answer.status, answer.value(b"Location")) == (303, b"/shop?a")
        assert answer.value(b"Set-Cookie") == b"__router_preview=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        assert site.ask(b"/?__router_preview=off", method=b"POST").body == b"blue"

    def test_link_to_the_version_that_has_become_active_is_cleaned_too(self, site: Site) -> None:
        site.put("green")
        assert site.ask(b"/?a&__router_preview=" + token()).value(b"Location") == b"/?a"

    def test_referer_with_a_permit_goes_nowhere(self, site: Site) -> None:
        assert site.ask(fields=b"Referer: http://x.test/?__router_preview=" + token() + b"\r\n").body == b"blue"
        assert site.blue.only.head.values(b"Referer") == []

    def test_cookie_of_an_unencrypted_link_is_not_for_https_alone(self, site: Site) -> None:
        """Nobody is trusted here, so that what the client claims does not count."""
        answer = site.ask(b"/?__router_preview=" + token(), b"X-Forwarded-Proto: https\r\n")
        assert b"Secure" not in (answer.value(b"Set-Cookie") or b"").split(b"; ")

    @pytest.mark.parametrize("name", [b"X-Router-Preview", b"x-router-preview", b"X-ROUTER-PREVIEW"])
    def test_field_leads_to_the_standby(self, site: Site, name: bytes) -> None:
        assert site.ask(fields=name + b": " + token() + b"\r\nX-Other: 1\r\n").body == b"green"
        assert site.green.only.head.value(b"X-Other") == b"1"
        assert site.blue.exchanges == []

    @pytest.mark.parametrize("way", [b"/up?__router_preview=%b", b"/up?x&__router_preview=%b"])
    def test_post_to_a_link_goes_to_the_standby_at_once(self, site: Site, way: bytes) -> None:
        answer = site.ask(way % token(), method=b"POST", body=b"form")
        assert answer.body == b"green"
        assert site.green.only.read_body() == b"form"
        assert site.green.only.target == (b"/up?x" if b"?x" in way else b"/up")

    @pytest.mark.parametrize(
        ("target", "location"),
        [
            (b"/?__router_preview=%b", b"/"),
            (b"/?__router_preview=%b&__router_preview=other", b"/"),
            (b"/a?&__router_preview=%b&&b", b"/a?&&b"),
            (b"//host.test/?__router_preview=%b", b"/.//host.test/"),
        ],
    )
    def test_address_keeps_all_but_the_permit(self, site: Site, target: bytes, location: bytes) -> None:
        assert site.ask(target % token()).value(b"Location") == location

    def test_lone_cookie_leaves_no_field(self, site: Site) -> None:
        assert site.ask(fields=b"cookie: __router_preview=" + token() + b"\r\n").body == b"green"
        assert site.green.only.head.values(b"Cookie") == []

    def test_only_the_named_cookie_is_ours(self, site: Site) -> None:
        fields = b"Cookie: x__router_preview=1; __router_previews=2\r\n"
        assert site.router.ask(request(fields=fields)).body == b"blue"
        assert site.blue.only.head.value(b"Cookie") == b"x__router_preview=1; __router_previews=2"

    def test_requests_on_one_connection_are_judged_one_by_one(self, site: Site) -> None:
        visit = request(fields=b"X-Router-Preview: " + token() + b"\r\n")
        with site.router.connect() as client:
            assert [client.ask(asked).body for asked in (visit, GET, visit, GET)] == [b"green", b"blue"] * 2


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: token(key="another"), id="foreign"),
        pytest.param(lambda: token(lasts_s=-1), id="expired"),
        pytest.param(lambda: token().replace(b"green", b"blue."), id="changed"),
        pytest.param(lambda: b"nonsense", id="nonsense"),
        pytest.param(lambda: b"\xff" * 200, id="bytes"),
    ],
)
class TestNoGood:
    """What is no token, or not ours, or no longer one."""

    def test_link_is_refused(self, site: Site, bad: object) -> None:
        answer = site.ask(b"/?__router_preview=" + bad())  # type: ignore[operator]  # the parameter's function
        assert (answer.status, answer.value(b"X-Router-Cause")) == (403, b"preview_refused")
        assert site.blue.exchanges == site.green.exchanges == []

    def test_field_is_refused(self, site: Site, bad: object) -> None:
        answer = site.ask(fields=b"X-Router-Preview: " + bad() + b"\r\n")  # type: ignore[operator]  # as above
        assert (answer.status, answer.value(b"X-Router-Cause")) == (403, b"preview_refused")
        assert site.blue.exchanges == site.green.exchanges == []

    def test_cookie_is_taken_off_and_the_active_version_shown(self, site: Site, bad: object) -> None:
        fields = b"Cookie: a=1; __router_preview=" + bad() + b"\r\n"  # type: ignore[operator]  # as above
        assert site.ask(fields=fields).body == b"blue"
        assert site.blue.only.head.value(b"Cookie") == b"a=1"


class TestWeight:
    """A visit is no traffic."""

    def test_visit_is_not_counted_but_logged(self, site: Site) -> None:
        before = site.router.metrics()
        assert site.ask(b"/?__router_preview=" + token()).status == 303
        assert site.ask(b"/visit", b"X-Router-Preview: " + token() + b"\r\n").body == b"green"
        after = site.router.metrics()
        for figure in ("total_requests", "successful_requests", "failed_requests", "bytes_proxied", "version_requests"):
            assert after[figure] == before[figure]
        assert after["in_flight"] == 0
        assert site.router.logged(lambda entry: entry["path"] == "/visit")["version"] == "green"

    def test_answer_says_what_it_is_and_may_not_be_stored(self, site: Site) -> None:
        answer = site.ask(fields=b"X-Router-Preview: " + token() + b"\r\n")
        assert answer.value(b"X-Router-Preview") == b"green"
        assert answer.head.values(b"Cache-Control") == [b"public", b"no-store"]
        assert answer.head.values(b"Cache-Control")[-1] == b"no-store"
        assert site.ask().head.values(b"X-Router-Preview") == []

    def test_permit_of_the_version_that_has_become_active_is_ordinary_traffic(self, site: Site) -> None:
        site.put("green")
        before = site.router.metrics()["version_requests"]
        answer = site.ask(fields=b"X-Router-Preview: " + token() + b"\r\n")
        assert (answer.body, answer.head.values(b"X-Router-Preview")) == (b"green", [])
        after = site.router.metrics()["version_requests"]
        assert isinstance(before, dict) and isinstance(after, dict)
        assert after["green"] == before["green"] + 1


class TestBeside:
    """Previews and what else may be going on."""

    def test_standby_that_is_down_is_told_at_once(self, site: Site) -> None:
        versions = {"blue": {"port": site.blue.port}, "green": {"port": free_port()}}
        put_state(site.router.state_file, "blue", versions, preview_key=KEY)
        answer = site.ask(fields=b"X-Router-Preview: " + token() + b"\r\n")
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"connect_refused")
        assert site.blue.exchanges == []

    def test_visit_passes_maintenance(self, site: Site) -> None:
        site.put(maintenance={"since": time.time()})
        assert site.ask(fields=b"X-Router-Preview: " + token() + b"\r\n").body == b"green"
        assert site.ask().status == 503

    def test_visit_waits_in_a_pause(self, site: Site) -> None:
        site.put(pause=pause_for(60))
        with site.router.connect() as client:
            client.send(request(fields=b"X-Router-Preview: " + token() + b"\r\n"))
            wait_held(site.router, 1)
            assert site.green.exchanges == []
            site.put()
            assert client.read_response().body == b"green"

    def test_without_a_key_or_a_version_nothing_is_shown(self, site: Site) -> None:
        fields = b"X-Router-Preview: " + token(key="") + b"\r\n"
        site.put(preview_key="")
        assert site.ask(fields=fields).status == 403
        put_state(site.router.state_file, None, preview_key=KEY)
        assert site.ask(fields=b"X-Router-Preview: " + token() + b"\r\n").status == 403
        assert site.ask(fields=b"Cookie: __router_preview=" + token() + b"\r\n").status == 503

    def test_visit_that_the_standby_resets_is_not_sent_again(self, site: Site) -> None:
        site.green.answers_in_turn(lambda exchange: exchange.close(), answering(reply(b"late")))
        assert site.ask(fields=b"X-Router-Preview: " + token() + b"\r\n").status == 502
        fields: list[Field] = [exchange.head.fields[0] for exchange in site.green.exchanges]
        assert len(fields) == 1


@pytest.mark.parametrize(
    ("proto", "is_secure"),
    [(b"https", True), (b"HTTPS", True), (b"http, https", True), (b"https, http", False), (b"http", False)],
)
def test_cookie_stays_on_https_where_a_trusted_proxy_says_that_it_was(
    farm: RouterFarm, proto: bytes, is_secure: bool
) -> None:
    router, upstream = farm.get(forwarded_hops=1)
    put_state(router.state_file, "blue", {"blue": {"port": upstream.port}}, preview_key=KEY)
    fields = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: " + proto + b"\r\n"
    answer = router.ask(request(target=b"/?__router_preview=" + token(), fields=fields))
    assert (b"Secure" in (answer.value(b"Set-Cookie") or b"").split(b"; ")) == is_secure
