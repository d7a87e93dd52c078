"""Node's own HTTP clients in front of the router: fetch (undici) and http with an agent that keeps connections."""

from __future__ import annotations

import json
import subprocess
import threading

from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess


def node(router: RouterProcess, script: str) -> object:
    """Run an async script body with `base` and `print`; what it printed, as JSON."""
    program = (
        f"const base = 'http://127.0.0.1:{router.port}';"
        "const print = (value) => process.stdout.write(JSON.stringify(value));"
        f"(async () => {{ {script} }})().catch((error) => {{ console.error(error); process.exit(1); }});"
    )
    done = subprocess.run(["node", "-e", program], capture_output=True, timeout=20, text=True)
    assert done.returncode == 0, done.stderr
    found: object = json.loads(done.stdout)
    return found


def test_fetch_gets_and_posts(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.send(reply(exchange.method + b" " + exchange.read_body()))
    found = node(
        router,
        "const a = await (await fetch(base + '/a')).text();"
        "const b = await (await fetch(base + '/b', {method: 'POST', body: 'hello'})).text();"
        "print([a, b]);",
    )
    assert found == ["GET ", "POST hello"]


def test_fetch_streams_an_upload(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.send(reply(b"%d" % len(exchange.read_body())))
    found = node(
        router,
        "let left = 50;"
        "const body = new ReadableStream({pull(c) { left-- ? c.enqueue(new Uint8Array(1000)) : c.close(); }});"
        "print(await (await fetch(base, {method: 'POST', body, duplex: 'half'})).text());",
    )
    assert found == "50000"
    assert upstream.only.is_chunked


def test_fetch_reads_a_stream_as_it_comes(router: RouterProcess, upstream: RawUpstream) -> None:
    taken = threading.Event()

    def handle(exchange: Exchange) -> None:
        if exchange.target == b"/taken":
            taken.set()
            exchange.send(reply())
            return
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        exchange.hold(taken)
        exchange.send(b"6\r\nsecond\r\n0\r\n\r\n")

    upstream.handler = handle
    found = node(
        router,
        "const seen = []; const text = new TextDecoder();"
        "for await (const part of (await fetch(base + '/stream')).body) {"
        "  seen.push(text.decode(part)); if (seen.length === 1) await fetch(base + '/taken'); }"
        "print(seen);",
    )
    assert found == ["first", "second"]


def test_fetch_sees_a_broken_off_answer_as_an_error(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", then_close=True)
    found = node(
        router,
        "const answer = await fetch(base);print(await answer.text().then(() => 'complete', () => 'broken off'));",
    )
    assert found == "broken off"


def test_abort_of_a_fetch_ends_the_upstream_exchange(router: RouterProcess, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        exchange.wait_for_hang_up()

    upstream.handler = handle
    node(
        router,
        "const stop = new AbortController();"
        "const reader = (await fetch(base, {signal: stop.signal})).body.getReader();"
        "await reader.read(); stop.abort(); print('left');",
    )
    assert upstream.only.connection.ended.wait(3)


def test_http_agent_keeps_its_connection_and_sees_interim_answers(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"
    )
    found = node(
        router,
        "const http = require('http'); const agent = new http.Agent({keepAlive: true, maxSockets: 1});"
        "const ask = () => new Promise((done, fail) => { let hints = 0; const request = http.get(base, {agent},"
        "  (answer) => { let body = ''; answer.on('data', (d) => body += d); answer.on('end', () =>"
        "    done([body, hints, answer.trailers['x-t'], request.reusedSocket])); });"
        "  request.on('information', () => hints++); request.on('error', fail); });"
        "const first = await ask(); const second = await ask(); agent.destroy(); print([first, second]);",
    )
    assert found == [["ok", 1, "1", False], ["ok", 1, "1", True]]
