"""One value out of a head."""

from __future__ import annotations

from app.protocol.field_values import cookie_in, field_in
from app.protocol.request import RequestParser

FIELDS = (
    RequestParser(100, False, False, ())
    .parse(b"GET / HTTP/1.1\r\nHost: x\r\nX-Key: one\r\nx-key: two\r\nCookie: a=1; b=2\r\nCookie: c=3; b=4\r\n\r\n")
    .fields
)


def test_first_field_of_a_name_counts() -> None:
    assert (field_in(FIELDS, b"x-key"), field_in(FIELDS, b"x-none")) == (b"one", b"")


def test_first_cookie_of_a_name_counts_in_whichever_field() -> None:
    assert [cookie_in(FIELDS, name) for name in (b"a", b"b", b"c", b"d")] == [b"1", b"2", b"3", b""]
