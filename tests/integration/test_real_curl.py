"""curl with many of its options, between a raw upstream and the real router."""

from __future__ import annotations

import gzip
import subprocess

import pytest

from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess


def curl(*arguments: str, stdin: bytes = b"") -> bytes:
    """What curl prints; CalledProcessError when it is not content."""
    command = ["curl", "-sS", "--max-time", "10", "--noproxy", "", *arguments]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True, timeout=15).stdout


@pytest.fixture
def base(router: RouterProcess) -> str:
    """The router's address."""
    return f"http://127.0.0.1:{router.port}"


@pytest.mark.parametrize(
    ("options", "start_line"),
    [
        pytest.param([], b"GET /p HTTP/1.1", id="plain"),
        pytest.param(["--http1.0"], b"GET /p HTTP/1.1", id="http-1.0"),
        pytest.param(["-X", "PROPFIND"], b"PROPFIND /p HTTP/1.1", id="propfind"),
        pytest.param(["-X", "lower"], b"lower /p HTTP/1.1", id="lower-case-method"),
        pytest.param(["-G", "-d", "a=b"], b"GET /p?a=b HTTP/1.1", id="query"),
        pytest.param(["-d", "a=b"], b"POST /p HTTP/1.1", id="form"),
        pytest.param(["-T", "-"], b"PUT /p HTTP/1.1", id="put-chunked"),
        pytest.param(["--request-target", "//a/../b?"], b"GET //a/../b? HTTP/1.1", id="raw-target"),
        pytest.param(["-X", "OPTIONS", "--request-target", "*"], b"OPTIONS * HTTP/1.1", id="options-asterisk"),
        pytest.param(["--http2"], b"GET /p HTTP/1.1", id="h2c-upgrade-declined"),
        pytest.param(["--tr-encoding"], b"GET /p HTTP/1.1", id="te"),
        pytest.param(["--compressed"], b"GET /p HTTP/1.1", id="compressed"),
        pytest.param(["--no-keepalive"], b"GET /p HTTP/1.1", id="no-keepalive"),
        pytest.param(["--json", '{"a": 1}'], b"POST /p HTTP/1.1", id="json"),
        pytest.param(["-F", "a=@-;filename=x"], b"POST /p HTTP/1.1", id="multipart"),
        pytest.param(["-u", "me:secret"], b"GET /p HTTP/1.1", id="basic-authentication"),
        pytest.param(["-r", "0-9"], b"GET /p HTTP/1.1", id="range"),
    ],
)
def test_option_is_served(base: str, upstream: RawUpstream, options: list[str], start_line: bytes) -> None:
    assert curl(*options, f"{base}/p", stdin=b"from standard input") == b"ok"
    assert upstream.exchanges[0].head.start_line == start_line


def test_several_urls_share_a_connection(base: str, upstream: RawUpstream) -> None:
    seen = curl("-w", "%{num_connects} ", "-o", "/dev/null", f"{base}/1", "-o", "/dev/null", f"{base}/2")
    assert seen == b"1 0 "
    assert [exchange.target for exchange in upstream.exchanges] == [b"/1", b"/2"]


def test_head_shows_the_length_and_ends(base: str, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    assert b"Content-Length: 12345\r\n" in curl("-I", f"{base}/p")


def test_upload_waits_for_continue(base: str, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.send(reply(b"%d" % len(exchange.read_body())))

    upstream.handler = handle
    options = ["-H", "Expect: 100-continue", "--expect100-timeout", "8", "--data-binary", "@-"]
    assert curl(*options, f"{base}/p", stdin=bytes(2_000_000)) == b"2000000"


def test_refused_upload_is_not_sent(base: str, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.send(reply(b"no", b"401 Unauthorized", [(b"Connection", b"close")]))
        exchange.wait_for_hang_up()

    upstream.handler = handle
    options = ["-H", "Expect: 100-continue", "--expect100-timeout", "8", "--data-binary", "@-"]
    sizes = curl(*options, "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", f"{base}/p", stdin=bytes(2_000_000))
    assert sizes == b"401 0"


def test_early_refusal_of_a_large_upload_is_shown(base: str, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.send(reply(b"too large", b"413 Content Too Large", [(b"Connection", b"close")]))
        exchange.close()

    upstream.handler = handle
    options = ["-H", "Expect:", "--data-binary", "@-", "-w", " %{http_code}"]
    assert curl(*options, f"{base}/p", stdin=bytes(3_000_000)) == b"too large 413"


def test_chunked_upload_and_download(base: str, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        body = exchange.read_body()
        exchange.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"
        )

    upstream.handler = handle
    payload = bytes(range(256)) * 4000
    assert curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", f"{base}/p", stdin=payload) == payload


def test_compressed_answer_is_decoded_by_curl_alone(base: str, upstream: RawUpstream) -> None:
    upstream.answers(reply(gzip.compress(b"readable"), fields=[(b"Content-Encoding", b"gzip")]))
    assert curl("--compressed", f"{base}/p") == b"readable"


def test_trailers_and_interim_answers_do_not_disturb(base: str, upstream: RawUpstream) -> None:
    upstream.answers(
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"
    )
    assert curl(f"{base}/p") == b"ok"


def test_redirect_is_followed_by_curl_itself(base: str, upstream: RawUpstream) -> None:
    upstream.answers_in_turn(
        lambda exchange: exchange.send(reply(b"", b"302 Found", [(b"Location", b"/there")])),
        lambda exchange: exchange.send(reply(b"arrived")),
    )
    assert curl("-L", f"{base}/here") == b"arrived"
    assert [exchange.target for exchange in upstream.exchanges] == [b"/here", b"/there"]


def test_authentication_by_challenge(base: str, upstream: RawUpstream) -> None:
    challenge = reply(b"", b"401 Unauthorized", [(b"WWW-Authenticate", b'Digest realm="r", nonce="n", qop="auth"')])
    upstream.answers_in_turn(
        lambda exchange: exchange.send(challenge), lambda exchange: exchange.send(reply(b"welcome"))
    )
    assert curl("--digest", "-u", "me:secret", f"{base}/p") == b"welcome"
    assert (upstream.exchanges[1].head.value(b"Authorization") or b"").startswith(b"Digest ")


def test_router_as_curls_proxy_gets_absolute_targets(base: str, upstream: RawUpstream) -> None:
    assert curl("-x", base, "http://x.test/p?q") == b"ok"
    assert upstream.only.target == b"http://x.test/p?q"
    assert upstream.only.head.values(b"Proxy-Connection") == []


def test_broken_off_answer_is_an_error_for_curl(base: str, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", then_close=True)
    with pytest.raises(subprocess.CalledProcessError):
        curl(f"{base}/p")


def test_many_at_once(base: str, upstream: RawUpstream) -> None:
    assert curl("-Z", "--parallel-max", "20", f"{base}/[1-60]") == b"ok" * 60
    assert len(upstream.exchanges) == 60


def test_http_2_with_prior_knowledge_is_refused(base: str, upstream: RawUpstream) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        curl("--http2-prior-knowledge", f"{base}/p")
    assert upstream.exchanges == []


def test_haproxy_preamble_is_refused(base: str, upstream: RawUpstream) -> None:
    assert curl("--haproxy-protocol", "-o", "/dev/null", "-w", "%{http_code}", f"{base}/p") == b"400"
    assert upstream.exchanges == []
