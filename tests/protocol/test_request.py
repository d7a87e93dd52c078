"""The request head: what is understood, what ends here, and what nobody behind us may have to guess at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FieldsTooLarge, MalformedRequest, MethodNotAllowed, RouterError, VersionNotSupported
from app.protocol.request import RequestHead, RequestParser
from tests.protocol.messages import block, fields, methods, targets
from tests.support.wire import Field

HOST = b"Host: x.test\r\n"


def parse(raw: bytes, *, max_fields: int = 200, allow_trace: bool = False, pass_aliases: bool = False) -> RequestHead:
    """Parses a whole head with a parser of its own."""
    return RequestParser(max_fields, allow_trace, pass_aliases).parse(raw)


def head_of(lines: bytes, *, version: bytes = b"1.1", pass_aliases: bool = False) -> RequestHead:
    """The head of a GET with a Host and these field lines."""
    return parse(b"GET / HTTP/" + version + b"\r\n" + HOST + lines + b"\r\n", pass_aliases=pass_aliases)


def kept(head: RequestHead) -> list[bytes]:
    """The names of the fields that do not end here."""
    return [name for index, (name, _) in enumerate(head.fields) if index not in head.dropped]


# --- the request line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", [b"GET", b"get", b"PROPFIND", b"PURGE", b"M-SEARCH", b"X", b"!#$%&'*+-.^_`|~09", b"QUERY"]
)
def test_method_of_any_token_is_taken_as_it_is(method: bytes) -> None:
    assert parse(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n").method == method


@pytest.mark.parametrize(
    "target",
    [
        *(b"/", b"//", b"/a/../b", b"/%7e%2F", b"/?", b"/??", b"/;a=b", b"/\xff\xc3\xa9", b'/|{}^`"<>\\', b"/#frag"),
        *(b"http://x.test/", b"http://x.test", b"HTTP://X.TEST/a?b", b"https://x.test?q", b"/http://y.test/", b"/*"),
    ],
)
def test_target_is_taken_byte_for_byte(target: bytes) -> None:
    assert parse(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n").target == target


def test_asterisk_is_a_target_of_options() -> None:
    assert parse(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n").target == b"*"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        pytest.param(b"", MalformedRequest, id="empty"),
        pytest.param(b"GET /", MalformedRequest, id="no-version"),
        pytest.param(b"GET  / HTTP/1.1", MalformedRequest, id="two-spaces"),
        pytest.param(b"GET / HTTP/1.1 ", MalformedRequest, id="trailing-space"),
        pytest.param(b" GET / HTTP/1.1", MalformedRequest, id="leading-space"),
        pytest.param(b"GET\t/\tHTTP/1.1", MalformedRequest, id="tabs"),
        pytest.param(b"GET /a b HTTP/1.1", MalformedRequest, id="space-in-target"),
        pytest.param(b"G(T / HTTP/1.1", MalformedRequest, id="method-is-no-token"),
        pytest.param(b"G\xc9T / HTTP/1.1", MalformedRequest, id="method-not-ascii"),
        pytest.param(b"GET /\x00 HTTP/1.1", MalformedRequest, id="nul-in-target"),
        pytest.param(b"GET /\x7f HTTP/1.1", MalformedRequest, id="delete-in-target"),
        pytest.param(b"GET /\ra HTTP/1.1", MalformedRequest, id="cr-in-target"),
        pytest.param(b"GET  HTTP/1.1", MalformedRequest, id="empty-target"),
        pytest.param(b"GET a HTTP/1.1", MalformedRequest, id="target-without-slash"),
        pytest.param(b"GET * HTTP/1.1", MalformedRequest, id="asterisk-without-options"),
        pytest.param(b"OPTIONS ** HTTP/1.1", MalformedRequest, id="two-asterisks"),
        pytest.param(b"GET ftp://x.test/ HTTP/1.1", MalformedRequest, id="other-scheme"),
        pytest.param(b"GET http:///a HTTP/1.1", MalformedRequest, id="no-authority"),
        pytest.param(b"GET http://y.test/ HTTP/1.1", MalformedRequest, id="authority-differs-from-host"),
        pytest.param(b"GET http://u@x.test/ HTTP/1.1", MalformedRequest, id="user-information"),
        pytest.param(b"GET x.test:80 HTTP/1.1", MalformedRequest, id="authority-form"),
        pytest.param(b"GET / http/1.1", MalformedRequest, id="lower-case-version"),
        pytest.param(b"GET / HTTP/1.10", MalformedRequest, id="three-digits"),
        pytest.param(b"GET / HTTP/11", MalformedRequest, id="no-point"),
        pytest.param(b"GET / HTTX/1.1", MalformedRequest, id="other-protocol"),
        pytest.param(b"GET / HTTP/0.9", VersionNotSupported, id="http-0.9"),
        pytest.param(b"GET / HTTP/1.2", VersionNotSupported, id="http-1.2"),
        pytest.param(b"PRI * HTTP/2.0", VersionNotSupported, id="http-2"),
        pytest.param(b"CONNECT x.test:80 HTTP/1.1", MethodNotAllowed, id="connect"),
        pytest.param(b"TRACE / HTTP/1.1", MethodNotAllowed, id="trace"),
    ],
)
def test_request_line_is_refused(line: bytes, error: type[RouterError]) -> None:
    with pytest.raises(error):
        parse(line + b"\r\n" + HOST + b"\r\n")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"OPTIONS * HTTP/1.0"])
def test_good_line_is_good_before_the_rest_is_here(line: bytes) -> None:
    RequestParser(200).check_line(line)


def test_bad_line_is_refused_before_the_rest_is_here() -> None:
    with pytest.raises(MalformedRequest):
        RequestParser(200).check_line(b"GET  / HTTP/1.1")


def test_trace_passes_where_it_is_allowed() -> None:
    assert parse(b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", allow_trace=True).method == b"TRACE"


def test_connect_passes_nowhere() -> None:
    with pytest.raises(MethodNotAllowed):
        parse(b"CONNECT x.test:80 HTTP/1.1\r\n" + HOST + b"\r\n", allow_trace=True)


# --- Host -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *(b"x.test", b"x.test:80", b"x.test:", b"127.0.0.1", b"[::1]", b"[::1]:80", b"[v1.a:b]", b"X_y", b"", b"%41"),
        *(b"a!$&'()*+,;=", b"x.test ", b"x.test\t"),
    ],
)
def test_valid_host(host: bytes) -> None:
    head = parse(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert (head.hosts, head.host) == (1, host.strip())


@pytest.mark.parametrize(
    "host",
    [
        b"a b",
        b"a/b",
        b"a@b",
        b"[::1",
        b"::1",
        b"a:b",
        b"a:-1",
        b'"a"',
        b"\xe9",
        b"a?b",
        b"a#b",
        b"[g]",
        b"a:1:2",
        b"a\\b",
    ],
)
def test_invalid_host_is_refused(host: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("version", "lines"),
    [(b"1.1", b""), (b"1.1", HOST + HOST), (b"1.0", HOST + HOST), (b"1.1", HOST + b"hOST: y.test\r\n")],
)
def test_missing_or_repeated_host_is_refused(version: bytes, lines: bytes) -> None:
    with pytest.raises(MalformedRequest, match="Host"):
        parse(b"GET / HTTP/" + version + b"\r\n" + lines + b"\r\n")


def test_http_1_0_may_leave_host_out() -> None:
    assert parse(b"GET / HTTP/1.0\r\n\r\n").hosts == 0


def test_absolute_target_without_host_is_for_http_1_0() -> None:
    head = parse(b"GET http://x.test:/ HTTP/1.0\r\n\r\n")
    assert (head.target, head.host) == (b"http://x.test:/", b"x.test:")


def test_host_is_what_the_client_wrote_also_beside_an_absolute_target() -> None:
    head = parse(b"GET http://X.test:80/ HTTP/1.1\r\nHost: x.Test\r\n\r\n")
    assert (head.target, head.host, head.dropped) == (b"http://X.test:80/", b"x.Test", [])


@pytest.mark.parametrize("authority", [b"", b":80", b"u@x.test", b"x\\y", b'x"y', b"[::1", b"x:a", b"x:1:2", b"\xe9"])
def test_absolute_target_without_a_valid_host_is_refused(authority: bytes) -> None:
    with pytest.raises(MalformedRequest, match="names no valid host"):
        parse(b"GET http://" + authority + b"/ HTTP/1.0\r\n\r\n")


# --- framing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "length", "reframed"),
    [
        (b"0", 0, b""),
        (b"5", 5, b""),
        (b"007", 7, b"Content-Length: 7\r\n"),
        (b"5 ", 5, b"Content-Length: 5\r\n"),
        (b"5\t", 5, b"Content-Length: 5\r\n"),
        (b"999999999999999999", 10**18 - 1, b""),
    ],
)
def test_content_length_goes_on_in_its_plain_form(value: bytes, length: int, reframed: bytes) -> None:
    head = head_of(b"Content-Length: " + value + b"\r\n")
    assert (head.content_length, head.has_body, head.reframed) == (length, length > 0, reframed)
    assert head.dropped == ([1] if reframed else [])


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b"chunked \t"])
def test_chunked_goes_on_in_our_own_spelling(value: bytes) -> None:
    head = head_of(b"Transfer-Encoding: " + value + b"\r\n")
    assert (head.chunked, head.has_body, head.content_length) == (True, True, None)
    assert (head.dropped, head.reframed) == ([1], b"Transfer-Encoding: chunked\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Content-Length: 5\r\nContent-Length: 5\r\n", id="length-repeated"),
        pytest.param(b"Content-Length: 5\r\nContent-Length: 6\r\n", id="lengths-differ"),
        pytest.param(b"Content-Length: 5, 5\r\n", id="length-listed"),
        pytest.param(b"Content-Length: +5\r\n", id="length-signed"),
        pytest.param(b"Content-Length: -5\r\n", id="length-negative"),
        pytest.param(b"Content-Length: 5.0\r\n", id="length-decimal"),
        pytest.param(b"Content-Length: 0x5\r\n", id="length-hexadecimal"),
        pytest.param(b"Content-Length: 5_0\r\n", id="length-with-underscore"),
        pytest.param(b"Content-Length:\r\n", id="length-empty"),
        pytest.param(b"Content-Length: 1000000000000000000\r\n", id="length-of-19-digits"),
        pytest.param(b"Content-Length: 99999999999999999999\r\n", id="length-beyond-64-bits"),
        pytest.param(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="length-then-chunked"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", id="chunked-then-length"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", id="chunked-twice"),
        pytest.param(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", id="two-codings"),
        pytest.param(b"Transfer-Encoding: chunked, chunked\r\n", id="chunked-listed-twice"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n", id="gzip-then-chunked"),
        pytest.param(b"Transfer-Encoding: chunked, gzip\r\n", id="chunked-then-gzip"),
        pytest.param(b"Transfer-Encoding: identity\r\n", id="identity"),
        pytest.param(b"Transfer-Encoding: gzip\r\n", id="gzip"),
        pytest.param(b"Transfer-Encoding:\r\n", id="coding-empty"),
        pytest.param(b"Transfer-Encoding: chunked;q=1\r\n", id="coding-with-parameter"),
        pytest.param(b'Transfer-Encoding: "chunked"\r\n', id="coding-quoted"),
        pytest.param(b"Transfer-Encoding: ,chunked\r\n", id="empty-member"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", id="coding-prefixed"),
        pytest.param(b"Transfer-Encoding: chunked\x0b\r\n", id="vertical-tab"),
        pytest.param(b"Transfer-Encoding : chunked\r\n", id="space-before-colon"),
        pytest.param(b"Transfer-Encoding: chunked\xa0\r\n", id="no-break-space"),
    ],
)
def test_ambiguous_framing_is_refused(lines: bytes) -> None:
    with pytest.raises(MalformedRequest):
        head_of(lines)


def test_chunked_from_http_1_0_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="Transfer-Encoding"):
        head_of(b"Transfer-Encoding: chunked\r\n", version=b"1.0")


def test_request_without_framing_has_no_body() -> None:
    head = head_of(b"")
    assert (head.has_body, head.content_length, head.chunked) == (False, None, False)


# --- fields that end here -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        pytest.param(b"Connection: close\r\n", [b"Host"], id="connection"),
        pytest.param(b"Keep-Alive: timeout=5\r\n", [b"Host"], id="keep-alive"),
        pytest.param(b"Proxy-Connection: close\r\n", [b"Host"], id="proxy-connection"),
        pytest.param(b"TE: trailers\r\n", [b"Host"], id="te"),
        pytest.param(b"HTTP2-Settings: AAMAAABk\r\n", [b"Host"], id="http2-settings-not-named"),
        pytest.param(b"Proxy-Authorization: Basic eA==\r\n", [b"Host", b"Proxy-Authorization"], id="of-another-proxy"),
        pytest.param(b"Upgrade: websocket\r\n", [b"Host"], id="upgrade-not-named"),
        pytest.param(b"Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\n", [b"Host", b"X-B"], id="named"),
        pytest.param(b"X-A: 1\r\nx-a: 2\r\nConnection: x-A\r\n", [b"Host"], id="named-after-and-twice"),
        pytest.param(b"Connection: a\r\nConnection: b\r\nA: 1\r\nB: 2\r\n", [b"Host"], id="two-connection-fields"),
        pytest.param(b"Connection: TE, te\r\nTE: trailers\r\n", [b"Host"], id="named-and-hop-by-hop"),
        pytest.param(b"Connection: Host\r\n", [b"Host"], id="host-cannot-be-named"),
        pytest.param(
            b"Connection: Content-Length\r\nContent-Length: 3\r\n",
            [b"Host", b"Content-Length"],
            id="content-length-cannot-be-named",
        ),
        pytest.param(
            b"Connection: X-Request-ID\r\nX-Request-ID: a\r\n", [b"Host", b"X-Request-ID"], id="id-cannot-be-named"
        ),
        pytest.param(b"Connection: Missing, ,\r\nA: 1\r\n", [b"Host", b"A"], id="named-field-is-not-there"),
        pytest.param(b"X_A: 1\r\nContent_Length: 5\r\nX.Forwarded.For: 1\r\n", [b"Host"], id="aliases"),
        pytest.param(b"Date: x\r\nVia: 1.1 a\r\nExpect: x\r\n", [b"Host", b"Date", b"Via", b"Expect"], id="end-to-end"),
    ],
)
def test_hop_by_hop_fields_end_here(lines: bytes, left: list[bytes]) -> None:
    assert kept(head_of(lines)) == left


def test_aliases_pass_where_they_are_allowed() -> None:
    assert kept(head_of(b"X_A: 1\r\n", pass_aliases=True)) == [b"Host", b"X_A"]


def test_no_field_is_dropped_twice_by_being_named() -> None:
    head = head_of(b"Connection: connection, keep-alive\r\nKeep-Alive: 5\r\n")
    assert sorted(head.dropped) == [1, 2]


@pytest.mark.parametrize(
    ("lines", "version", "upgrade"),
    [
        pytest.param(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"1.1", b"websocket", id="named"),
        pytest.param(
            b"Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n", b"1.1", b"WebSocket", id="in-a-list"
        ),
        pytest.param(
            b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: chat/2\r\n",
            b"1.1",
            b"websocket, chat/2",
            id="two-fields",
        ),
        pytest.param(
            b"Connection: upgrade\r\nUpgrade: h2c, websocket/13 ,chat,, chat/2\r\n",
            b"1.1",
            b"websocket/13, chat/2",
            id="some-known",
        ),
        pytest.param(
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", b"1.1", b"", id="h2c"
        ),
        pytest.param(b"Upgrade: websocket\r\n", b"1.1", b"", id="not-named"),
        pytest.param(b"Connection: close\r\nUpgrade: websocket\r\n", b"1.1", b"", id="something-else-named"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"1.0", b"", id="http-1.0"),
        pytest.param(b"Connection: Upgrade\r\n", b"1.1", b"", id="nothing-to-upgrade-to"),
    ],
)
def test_upgrade_is_asked_for_when_connection_names_it(lines: bytes, version: bytes, upgrade: bytes) -> None:
    raw = b"GET / HTTP/" + version + b"\r\n" + HOST + lines + b"\r\n"
    head = RequestParser(200, upgrades=("websocket", "Chat/2")).parse(raw)
    assert head.upgrade == upgrade
    assert kept(head) == [b"Host"], "what is passed of it is written anew"


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b"closed", True),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
        (b"1.0", b"x", False),
    ],
)
def test_connection_persists_as_its_version_and_client_say(version: bytes, connection: bytes, keeps: bool) -> None:
    lines = b"Connection: " + connection + b"\r\n" if connection else b""
    assert head_of(lines, version=version).keep_alive is keeps


# --- fields with a meaning of our own -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"a", b"A-1_2.3:4/5+6=7@8", b"x" * 128])
def test_usable_request_id_is_taken_over(value: bytes) -> None:
    head = head_of(b"X-Request-ID: " + value + b"\r\n")
    assert (head.request_id, head.dropped) == (value, [])


@pytest.mark.parametrize("value", [b"", b"a b", b"<b>", b"x" * 129, b"\xe9", b'"a"', b"a "])
def test_unusable_request_id_is_dropped(value: bytes) -> None:
    head = head_of(b"X-Request-ID: " + value + b"\r\n")
    assert (head.request_id, head.dropped) == (b"", [1])


@pytest.mark.parametrize("values", [[b"a", b"b"], [b"a", b"a"], [b"a", b"b", b"c"], [b"<", b"a"], [b"a", b"<", b"c"]])
def test_repeated_request_ids_are_all_dropped(values: list[bytes]) -> None:
    head = head_of(b"".join(b"X-Request-ID: " + value + b"\r\n" for value in values))
    assert head.request_id == b""
    assert kept(head) == [b"Host"]


def test_forwarding_fields_are_noted_and_not_yet_judged() -> None:
    head = head_of(
        b"X-Forwarded-For: 1.1.1.1\r\nForwarded: for=a\r\nx-forwarded-for: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n"
    )
    assert (head.forwarding, head.dropped) == ([1, 2, 3, 4], [])


@pytest.mark.parametrize(("extra", "fits"), [(9, True), (10, False)])
def test_fields_are_counted(extra: int, fits: bool) -> None:
    raw = b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\r\n" * extra + b"\r\n"
    if fits:
        assert len(parse(raw, max_fields=10).fields) == 10
        return
    with pytest.raises(FieldsTooLarge, match="limit 10"):
        parse(raw, max_fields=10)


@pytest.mark.parametrize("line", [b"A : b", b"A: b\r\n c", b"A: \x00", b"A", b": b"])
def test_invalid_header_section_is_refused(line: bytes) -> None:
    with pytest.raises(MalformedRequest, match="invalid header section"):
        head_of(line + b"\r\n")


# --- properties -----------------------------------------------------------------------------------------------


@given(methods, targets, fields)
def test_any_valid_request_is_read_as_it_was_written(method: bytes, target: bytes, pairs: list[Field]) -> None:
    sent = [(b"Host", b"x.test"), *pairs]
    head = parse(method + b" " + target + b" HTTP/1.1\r\n" + block(sent))

    assert (head.method, head.target, head.fields) == (method, target, sent)
    assert (head.dropped, head.has_body, head.keep_alive, head.upgrade) == ([], False, True, b"")


@given(st.lists(st.tuples(methods, targets, fields), min_size=2, max_size=4), st.binary(max_size=30))
def test_one_parser_reads_request_after_request(requests: list[tuple[bytes, bytes, list[Field]]], noise: bytes) -> None:
    parser = RequestParser(200)
    for method, target, pairs in requests:
        head = parser.parse(method + b" " + target + b" HTTP/1.1\r\n" + block([(b"Host", b"x"), *pairs]))
        assert (head.method, head.target, head.fields[1:]) == (method, target, pairs)
        try:
            parser.parse(b"GET / HTTP/1.1\r\nHost: x\r\n" + noise + b"\r\n\r\n")
        except RouterError as error:
            assert 400 <= error.status < 600


def test_preview_field_is_noticed_and_ends_here() -> None:
    head = RequestParser(100).parse(b"GET / HTTP/1.1\r\nHost: x\r\nX-Router-Preview: green.1.x\r\n\r\n")
    assert (head.asks_for_preview, head.dropped) == (True, [1])
