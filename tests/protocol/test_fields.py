"""Field sections: what is taken apart, what is refused, and what a name means to a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.fields import FieldParser, Meaning, cookie_taken_off, meaning_of, parted, split_list, without_cookie
from tests.protocol.messages import block, fields
from tests.support.wire import Field

FORBIDDEN = {
    "space-before-colon": b"A : b\r\n",
    "tab-before-colon": b"A\t: b\r\n",
    "folded-with-space": b"A: b\r\n c\r\n",
    "folded-with-tab": b"A: b\r\n\tc\r\n",
    "bare-lf": b"A: b\nC: d\r\n",
    "bare-cr": b"A: b\rC: d\r\n",
    "cr-before-crlf": b"A: b\r\r\n",
    "nul": b"A: b\x00\r\n",
    "control": b"A: b\x01\r\n",
    "delete": b"A: b\x7f\r\n",
    "no-colon": b"A\r\n",
    "empty-name": b": b\r\n",
    "name-is-no-token": b"A(: b\r\n",
    "name-not-ascii": b"\xc3\xa9: b\r\n",
    "space-in-name": b"A B: c\r\n",
    "length-signed": b"Content-Length: +1\r\n",
    "length-negative": b"Content-Length: -1\r\n",
    "length-empty": b"Content-Length:\r\n",
    "length-listed": b"Content-Length: 1, 1\r\n",
    "length-hexadecimal": b"Content-Length: 0x1\r\n",
    "length-repeated": b"Content-Length: 1\r\nContent-Length: 1\r\n",
    "length-beyond-64-bits": b"Content-Length: 99999999999999999999\r\n",
    "length-and-coding": b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    "coding-and-length": b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
}


@pytest.mark.parametrize("lines", FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden_section_is_refused_and_the_next_one_is_read(lines: bytes) -> None:
    parser = FieldParser()

    with pytest.raises(ValueError, match="."):
        parser.parse(lines + b"\r\n")
    assert parser.parse(b"A: 1\r\n\r\n") == [(b"A", b"1")]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        pytest.param(b"", [], id="none"),
        pytest.param(b"A: b\r\n", [(b"A", b"b")], id="one"),
        pytest.param(b"a:b\r\n", [(b"a", b"b")], id="without-space"),
        pytest.param(b"A: \t b\r\n", [(b"A", b"b")], id="leading-white-space"),
        pytest.param(b"A:\r\n", [(b"A", b"")], id="empty-value"),
        pytest.param(b"A: b\tc\r\n", [(b"A", b"b\tc")], id="tab-inside"),
        pytest.param(b"A: \xe9\xff\x80\r\n", [(b"A", b"\xe9\xff\x80")], id="latin-1"),
        pytest.param(b"A: 1\r\nB: 2\r\na: 3\r\n", [(b"A", b"1"), (b"B", b"2"), (b"a", b"3")], id="order-and-repeats"),
        pytest.param(b"!#$%&'*+-.^_`|~09azAZ: x\r\n", [(b"!#$%&'*+-.^_`|~09azAZ", b"x")], id="every-token-character"),
        pytest.param(b"Connection: close\r\n", [(b"Connection", b"close")], id="connection-close"),
        pytest.param(
            b"Connection: Upgrade\r\nUpgrade: x\r\n", [(b"Connection", b"Upgrade"), (b"Upgrade", b"x")], id="upgrade"
        ),
        pytest.param(b"Content-Length: 5\r\n", [(b"Content-Length", b"5")], id="content-length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", [(b"Transfer-Encoding", b"chunked")], id="chunked"),
    ],
)
def test_section_is_taken_apart_in_wire_order(lines: bytes, found: list[Field]) -> None:
    parser = FieldParser()

    assert parser.parse(lines + b"\r\n") == found
    assert parser.parse(lines + b"\r\n") == found, "the parser is ready for the next section"


@pytest.mark.parametrize("end", [b"", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n"])
@pytest.mark.parametrize("framing", [b"", b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_section_is_read_alike_however_often_it_comes(end: bytes, framing: bytes) -> None:
    parser = FieldParser()
    for section in (end + framing, framing + end):
        first = FieldParser().parse(section + b"\r\n")
        for _ in range(40):
            assert parser.parse(section + b"\r\n") == first


@given(fields)
def test_any_valid_section_is_taken_apart(pairs: list[Field]) -> None:
    assert FieldParser().parse(block(pairs)) == pairs


@given(st.lists(st.sampled_from(list(FORBIDDEN.values()) + [b"A: 1\r\n", b"Connection: close\r\n"]), max_size=8))
def test_no_section_leaves_a_trace_in_the_next(sections: list[bytes]) -> None:
    parser = FieldParser()
    for lines in sections:
        try:
            parser.parse(lines + b"\r\n")
        except ValueError:
            assert lines in FORBIDDEN.values()

    assert parser.parse(b"B: 2\r\n\r\n") == [(b"B", b"2")]


MEANINGS = {
    b"Host": Meaning.HOST,
    b"Content-Length": Meaning.CONTENT_LENGTH,
    b"Transfer-Encoding": Meaning.TRANSFER_ENCODING,
    b"Connection": Meaning.CONNECTION,
    b"Upgrade": Meaning.UPGRADE,
    b"Keep-Alive": Meaning.HOP_BY_HOP,
    b"Proxy-Connection": Meaning.HOP_BY_HOP,
    b"TE": Meaning.HOP_BY_HOP,
    b"Proxy-Authorization": Meaning.PLAIN,
    b"Proxy-Authenticate": Meaning.PLAIN,
    b"X-Request-ID": Meaning.REQUEST_ID,
    b"X-Forwarded-For": Meaning.FORWARDING,
    b"X-Forwarded-Proto": Meaning.FORWARDING,
    b"X-Forwarded-Host": Meaning.FORWARDING,
    b"X-Forwarded-Port": Meaning.FORWARDING,
    b"Forwarded": Meaning.FORWARDING,
    b"Date": Meaning.DATE,
    b"Via": Meaning.VIA,
    b"Accept": Meaning.PLAIN,
    b"X-Real-IP": Meaning.FORWARDING,
    b"Trailer": Meaning.PLAIN,
    b"X.App.Name": Meaning.PLAIN,
    b"X_Forwarded_For": Meaning.FORWARDING_ALIAS,
    b"X.Forwarded.For": Meaning.FORWARDING_ALIAS,
    b"X~Forwarded-Proto": Meaning.FORWARDING_ALIAS,
    b"X.Request.ID": Meaning.ALIAS,
    b"X.Real.IP": Meaning.FORWARDING_ALIAS,
    b"Any_Name": Meaning.ALIAS,
    b"Content_Length": Meaning.ALIAS,
}


@pytest.mark.parametrize(("name", "meaning"), MEANINGS.items(), ids=lambda value: getattr(value, "name", None))
@pytest.mark.parametrize("spelling", [bytes.lower, bytes.upper, bytes], ids=["lower", "upper", "usual"])
def test_name_means_the_same_in_any_spelling(name: bytes, meaning: Meaning, spelling: type[bytes]) -> None:
    assert meaning_of(spelling(name)) is meaning
    assert meaning_of(spelling(name)) is meaning, "also when it has been seen before"


def test_flood_of_invented_names_is_classified_and_not_kept() -> None:
    for number in range(3000):
        assert meaning_of(b"X-Invented-%d" % number) is Meaning.PLAIN
        assert meaning_of(b"x_invented_%d" % number) is Meaning.ALIAS


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b"close", [b"close"]),
        (b"Close, Keep-Alive", [b"close", b"keep-alive"]),
        (b" a ,\tb\t,, ,c", [b"a", b"b", b"c"]),
        (b",", []),
    ],
)
def test_list_members_are_lower_case_and_never_empty(value: bytes, members: list[bytes]) -> None:
    assert split_list(value) == members


@pytest.mark.parametrize(
    ("text", "others", "found"),
    [
        (b"a=1", b"a=1", b""),
        (b"own=1", b"", b"1"),
        (b"a=1; own=; own=2; b", b"a=1; b", b"2"),
        (b"owner=1;own=x=y", b"owner=1", b"x=y"),
    ],
)
def test_pairs_of_a_name_are_parted_from_the_others(text: bytes, others: bytes, found: bytes) -> None:
    assert parted(text, b";", b"own") == (others, found)


@pytest.mark.parametrize(
    ("line", "left"),
    [(b"Cookie: a=1; own=2", b"Cookie: a=1"), (b"cookie:own=2; a=1", b"cookie: a=1"), (b"Cookie: own=2", b"")],
)
def test_cookie_of_ours_is_taken_off_its_line(line: bytes, left: bytes) -> None:
    assert cookie_taken_off(line, b"own") == (left, b"2")


def test_cookie_of_ours_is_taken_off_a_head() -> None:
    raw = b"GET /own HTTP/1.1\r\nCookie: own=1\r\nHost: x\r\nCookie: own=2; a=3; own=4\r\nCookie: b=5\r\n\r\n"
    left = b"GET /own HTTP/1.1\r\nHost: x\r\nCookie: a=3\r\nCookie: b=5\r\n\r\n"
    assert without_cookie(raw, b"own") == (left, b"1")
    assert without_cookie(left, b"own") == (left, b"")
