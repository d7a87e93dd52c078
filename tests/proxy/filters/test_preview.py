"""A token is taken off a request and nothing else of it is touched."""

from __future__ import annotations

import pytest

from app.proxy.filters.preview import taken_off
from app.proxy.transaction import PreviewTokens

HEAD = b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n"


@pytest.mark.parametrize(
    ("target", "clean", "token"),
    [
        (b"/", b"/", b""),
        (b"/?", b"/?", b""),
        (b"/?a", b"/?a", b""),
        (b"/a?__router_preview=t", b"/a", b"t"),
        (b"/a?__router_preview=", b"/a", b""),
        (b"/a?b=1&__router_preview=t&c=2", b"/a?b=1&c=2", b"t"),
        (b"/a?__router_preview=t&__router_preview=u&b", b"/a?b", b"t"),
        (b"/a?&&__router_preview=t", b"/a?&", b"t"),
        (b"/a?x__router_preview=t&__router_previews=u", b"/a?x__router_preview=t&__router_previews=u", b""),
        (b"/__router_preview=t?b?c=1", b"/__router_preview=t?b?c=1", b""),
        (b"http://x/a?__router_preview=t", b"http://x/a", b"t"),
    ],
)
def test_query(target: bytes, clean: bytes, token: bytes) -> None:
    assert taken_off(HEAD % (target, b"")) == (HEAD % (clean, b""), PreviewTokens(query=token))


@pytest.mark.parametrize(
    ("fields", "kept", "token"),
    [
        (b"Cookie: a=1\r\n", b"Cookie: a=1\r\n", b""),
        (b"Cookie: __router_preview=t\r\n", b"", b"t"),
        (b"Cookie:__router_preview=t; a=1\r\n", b"Cookie: a=1\r\n", b"t"),
        (b"cookie: a=1;__router_preview=t;b=2\r\n", b"cookie: a=1;b=2\r\n", b"t"),
        (b"Cookie: a=__router_preview\r\n", b"Cookie: a=__router_preview\r\n", b""),
        (b"Cookie: __router_preview=t\r\nA: b\r\nCookie: __router_preview=u; c\r\n", b"A: b\r\nCookie: c\r\n", b"t"),
        (b"Referer: http://x/?__router_preview=t\r\n", b"", b""),
        (b"Referer: http://x/\r\n", b"Referer: http://x/\r\n", b""),
        (b"X-Cookie: __router_preview=t\r\n", b"X-Cookie: __router_preview=t\r\n", b""),
    ],
)
def test_cookie_and_referer(fields: bytes, kept: bytes, token: bytes) -> None:
    assert taken_off(HEAD % (b"/", fields)) == (HEAD % (b"/", kept), PreviewTokens(cookie=token))


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        (b"X-Router-Preview: t\r\n", b"t"),
        (b"x-router-PREVIEW:t \t\r\n", b"t"),
        (b"X-Router-Preview: t\r\nX-Router-Preview: u\r\n", b"t"),
        (b"X-Router-Preview:\r\n", b""),
    ],
)
def test_field(fields: bytes, token: bytes) -> None:
    assert taken_off(HEAD % (b"/", b"A: b\r\n" + fields + b"C: d\r\n")) == (
        HEAD % (b"/", b"A: b\r\nC: d\r\n"),
        PreviewTokens(field=token),
    )
