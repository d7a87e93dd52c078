"""Bodies pass as they arrive, in both directions, and an end is only ever the end that was meant."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until
from tests.support.wire import Truncated

HOST = b"Host: x.test\r\n"
GET = b"GET /s HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED_POST = b"POST /s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

MEGABYTE = 1 << 20
AT_ONCE_S = 2.0
"""`At once` for tests: half of it is what the router promises, the rest is for a busy machine."""


def post(length: int, *fields: bytes) -> bytes:
    """The head of a POST with that Content-Length."""
    return b"POST /s HTTP/1.1\r\n" + HOST + b"".join(fields) + b"Content-Length: %d\r\n\r\n" % length


def gate() -> tuple[threading.Event, Callable[[Exchange], None]]:
    """An event and a handler that answers 200 once it is set."""
    event = threading.Event()
    return event, answering(reply(b"late"), after=event)


class TestAnswers:
    """The upstream's bytes on their way to the client."""

    @pytest.mark.parametrize(
        ("head", "first", "second", "end"),
        [
            pytest.param(b"Transfer-Encoding: chunked", b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n", id="chunked"),
            pytest.param(b"Content-Length: 2", b"a", b"b", b"", id="length"),
            pytest.param(b"Connection: close", b"a", b"b", b"", id="until-close"),
        ],
    )
    def test_head_and_each_byte_arrive_as_soon_as_they_are_sent(
        self,
        router: RouterProcess,
        upstream: RawUpstream,
        head: bytes,
        first: bytes,
        second: bytes,
        end: bytes,
    ) -> None:
        steps = [threading.Event() for _ in range(3)]

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            for step, data in zip(steps, (first, second, end), strict=True):
                exchange.hold(step)
                exchange.send(data)
            exchange.close()

        upstream.handler = handle
        with router.connect() as client:
            client.send(GET)
            answer = client.read_head()
            is_chunked = bool(answer.values(b"Transfer-Encoding"))

            def read() -> bytes:
                return client.wire.read_chunk()[0] if is_chunked else client.wire.read_some()

            steps[0].set()
            assert read() == b"a"
            steps[1].set()
            assert read() == b"b"
            steps[2].set()
            if is_chunked:
                assert (read(), client.wire.read_trailers()) == (b"", ())

    def test_server_sent_events_arrive_one_by_one(self, router: RouterProcess, upstream: RawUpstream) -> None:
        taken = [threading.Event() for _ in range(5)]

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number, event in enumerate(taken):
                exchange.send(b"9\r\ndata: %d\n\n\r\n" % number)
                exchange.hold(event)
            exchange.send(b"0\r\n\r\n")

        upstream.handler = handle
        with router.connect() as client:
            client.send(GET)
            client.read_head()
            for number, event in enumerate(taken):
                assert client.wire.read_chunk()[0] == b"data: %d\n\n" % number
                event.set()
            assert client.wire.read_chunk()[0] == b""

    def test_interim_answer_arrives_before_the_final_one_exists(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-H: 1\r\n\r\n")
            exchange.hold(event)
            exchange.send(reply(b"final"))

        upstream.handler = handle
        with router.connect() as client:
            client.send(GET)
            hint = client.read_head()
            assert hint.start_line == b"HTTP/1.1 103 Early Hints"
            assert list(hint.fields[:2]) == [(b"Link", b"</a.css>; rel=preload"), (b"X-H", b"1")]
            event.set()
            assert client.read_response().body == b"final"

    def test_interim_answer_never_answers_the_next_request(self, router: RouterProcess, upstream: RawUpstream) -> None:
        hinting = answering(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + reply(b"first"))
        upstream.answers_in_turn(hinting, answering(reply(b"second")))
        assert router.ask(GET).body == b"first"
        second = router.ask(GET)
        assert (second.body, second.interim) == (b"second", ())

    def test_continue_that_nobody_asked_for_is_not_the_answer(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.answers(b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"final"))
        answer = router.ask(GET)
        assert (answer.status, answer.body) == (200, b"final")

    @pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
    def test_interim_answer_reaches_the_client_without_framing(
        self, router: RouterProcess, upstream: RawUpstream, field: bytes
    ) -> None:
        """RFC 9110 §8.6, RFC 9112 §6.1: a 1xx has neither; a client that believed it would lose its place."""
        upstream.answers(b"HTTP/1.1 103 Early Hints\r\n" + field + b"\r\n\r\n" + reply(b"final"))
        answer = router.ask(GET)
        assert field.split(b":")[0] not in b"".join(head.raw for head in answer.interim)
        assert answer.body in (b"final", b"Bad gateway")

    def test_connection_cannot_take_away_the_answers_framing(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.answers(reply(b"whole", fields=[(b"Connection", b"Content-Length")]))
        with router.connect() as client:
            assert client.ask(GET).body == b"whole"
            assert client.ask(GET).body == b"whole"

    def test_requests_that_come_in_pieces_during_an_answer_are_kept(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        steps = [threading.Event() for _ in range(3)]

        def slowly(exchange: Exchange) -> None:
            exchange.send(CHUNKED_OK)
            for step in steps:
                exchange.send(b"1\r\n.\r\n")
                exchange.hold(step)
            exchange.send(b"0\r\n\r\n")

        upstream.answers_in_turn(slowly, answering(reply(b"second")), answering(reply(b"third")))
        following = GET.replace(b"/s", b"/second") + GET.replace(b"/s", b"/third")
        with router.connect() as client:
            client.send(GET)
            client.read_head()
            for step, piece in zip(steps, (following[:20], following[20:50], following[50:]), strict=True):
                assert client.wire.read_chunk()[0] == b"."
                client.send(piece)
                step.set()
            assert client.wire.read_chunk()[0] == b""
            client.wire.read_trailers()
            assert [client.read_response().body for _ in range(2)] == [b"second", b"third"]
        assert [exchange.target for exchange in upstream.exchanges] == [b"/s", b"/second", b"/third"]

    def test_client_that_does_not_read_stops_the_upstream(self, router: RouterProcess, upstream: RawUpstream) -> None:
        total = 256 * MEGABYTE
        sent = {"bytes": 0}

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            exchange.wire.sock.settimeout(1)
            block = bytes(MEGABYTE)
            try:
                while sent["bytes"] < total:
                    sent["bytes"] += exchange.wire.sock.send(block)
            except TimeoutError:
                exchange.reset()

        upstream.handler = handle
        with RawClient(router.port, rcvbuf=65536) as client:
            client.send(GET)
            client.read_head()
            assert upstream.only.connection.ended.wait(20), "the upstream was never held back"
        assert sent["bytes"] < 32 * MEGABYTE

    def test_large_answer_needs_no_memory(self, router: RouterProcess, upstream: RawUpstream) -> None:
        total = 192 * MEGABYTE

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            for _ in range(total // MEGABYTE):
                exchange.send(bytes(MEGABYTE))

        upstream.handler = handle
        before = router.memory_bytes()
        peak = before
        with router.connect() as client:
            client.wire.keep_received = False
            client.send(GET)
            client.read_head()
            received = 0
            while received < total:
                received += len(client.wire.read_exactly(MEGABYTE))
                peak = max(peak, router.memory_bytes())
        assert received == total
        assert peak - before < 24 * MEGABYTE

    @pytest.mark.parametrize("ending", ["close", "reset"])
    @pytest.mark.parametrize(
        "start",
        [
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", id="length"),
            pytest.param(CHUNKED_OK + b"3\r\nabc\r\n", id="chunked"),
        ],
    )
    def test_upstream_that_breaks_off_aborts_the_client(
        self, router: RouterProcess, upstream: RawUpstream, start: bytes, ending: str
    ) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.send(start)
            exchange.hold(event)
            getattr(exchange, ending)()

        upstream.handler = handle
        with router.connect() as client:
            client.send(GET)
            client.read_head()
            event.set()
            with pytest.raises((Truncated, ConnectionResetError)):
                client.wire.read_exactly(100)

    def test_reset_of_an_answer_until_close_is_no_clean_end(self, router: RouterProcess, upstream: RawUpstream) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
            exchange.hold(event)
            exchange.reset()

        upstream.handler = handle
        with router.connect() as client:
            client.send(GET)
            client.read_head()
            assert client.wire.read_chunk()[0] == b"abc"
            event.set()
            with pytest.raises((Truncated, ConnectionResetError)):
                client.wire.read_chunk()

    def test_http_1_0_client_sees_a_broken_off_answer_as_a_reset(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        """Without framing a FIN would look like the body's proper end."""
        upstream.answers(CHUNKED_OK + b"3\r\nabc\r\n", then_close=True)
        with router.connect() as client:
            client.send(b"GET / HTTP/1.0\r\nHost: x.test\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                client.read_response()

    def test_broken_off_answer_is_logged_with_its_cause(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.answers(CHUNKED_OK + b"3\r\nabc\r\n", then_close=True)
        with router.connect() as client:
            client.send(b"GET /broken-off HTTP/1.1\r\n" + HOST + b"\r\n")
            with pytest.raises((Truncated, ConnectionResetError)):
                client.read_response()
        entry = router.logged(lambda entry: entry["path"] == "/broken-off")
        assert (entry["status"], entry["cause"]) == (200, "upstream_truncated")


class TestRequests:
    """The client's bytes on their way to the upstream."""

    def test_head_goes_upstream_before_the_body_comes(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.send(post(5))
            upstream.next_exchange()
            client.send(b"hello")
            assert client.read_response().status == 200
        assert upstream.only.body == b"hello"

    def test_each_piece_with_length_goes_upstream_as_it_comes(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.handler = read_pieces(2)
        with router.connect() as client:
            client.send(post(2))
            exchange = upstream.next_exchange()
            client.send(b"a")
            wait_until(lambda: exchange.body == b"a", "first piece")
            client.send(b"b")
            assert client.read_response().status == 200

    def test_each_chunk_goes_upstream_as_it_comes(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.handler = read_pieces(2)
        with router.connect() as client:
            client.send(CHUNKED_POST)
            exchange = upstream.next_exchange()
            client.send(b"1\r\na\r\n")
            wait_until(lambda: exchange.body == b"a", "first chunk")
            client.send(b"1\r\nb\r\n0\r\n\r\n")
            assert client.read_response().status == 200

    def test_part_of_a_chunk_does_not_wait_for_the_rest(self, router: RouterProcess, upstream: RawUpstream) -> None:
        upstream.handler = read_pieces(6)
        with router.connect() as client:
            client.send(CHUNKED_POST + b"6\r\nabc")
            exchange = upstream.next_exchange()
            wait_until(lambda: exchange.body == b"abc", "first half of the chunk")
            client.send(b"def\r\n0\r\n\r\n")
            assert client.read_response().status == 200

    def test_both_directions_flow_at_once(self, router: RouterProcess, upstream: RawUpstream) -> None:
        """The answer begins while the request's body still comes, as gRPC-like peers need it."""

        def echo(exchange: Exchange) -> None:
            exchange.send(CHUNKED_OK)
            for count in range(1, 4):
                exchange.read_body_until(count)
                exchange.send(b"1\r\n" + exchange.body[-1:] + b"\r\n")
            exchange.wire.read_chunked()
            exchange.send(b"0\r\n\r\n")

        upstream.handler = echo
        with router.connect() as client:
            client.send(CHUNKED_POST)
            client.read_head()
            for letter in (b"a", b"b", b"c"):
                client.send(b"1\r\n" + letter + b"\r\n")
                assert client.wire.read_chunk()[0] == letter
            client.send(b"0\r\n\r\n")
            assert client.wire.read_chunk()[0] == b""

    def test_much_flows_both_ways_at_once(self, router: RouterProcess, upstream: RawUpstream) -> None:
        """Neither direction waits for the other's end; both are larger than all buffers on the way."""
        total = 32 * MEGABYTE

        def echo(exchange: Exchange) -> None:
            exchange.wire.keep_received = False
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            left = total
            while left:
                data = exchange.wire.read_some()
                left -= len(data)
                exchange.send(data)

        upstream.handler = echo
        with router.connect() as client:
            client.wire.keep_received = False
            client.send(post(total))
            client.read_head()
            sender = threading.Thread(target=client.send, args=(bytes(total),))
            sender.start()
            received = 0
            while received < total:
                received += len(client.wire.read_some())
            sender.join(10)
        assert received == total

    def test_upstream_that_does_not_read_stops_the_client(self, router: RouterProcess, upstream: RawUpstream) -> None:
        total = 256 * MEGABYTE
        event = threading.Event()
        upstream.handler = lambda exchange: exchange.hold(event)
        sent = 0
        with router.connect() as client:
            client.send(post(total))
            upstream.next_exchange()
            client.wire.sock.settimeout(1)
            with pytest.raises(TimeoutError):
                while sent < total:
                    sent += client.wire.sock.send(bytes(MEGABYTE))
        assert sent < 32 * MEGABYTE

    def test_large_request_needs_no_memory(self, router: RouterProcess, upstream: RawUpstream) -> None:
        total = 192 * MEGABYTE
        counted = {"bytes": 0}

        def handle(exchange: Exchange) -> None:
            exchange.wire.keep_received = False
            while counted["bytes"] < total:
                counted["bytes"] += len(exchange.wire.read_some())
            exchange.send(reply())

        upstream.handler = handle
        before = router.memory_bytes()
        peak = before
        with router.connect() as client:
            client.send(post(total))
            for _ in range(total // MEGABYTE):
                client.send(bytes(MEGABYTE))
                peak = max(peak, router.memory_bytes())
            assert client.read_response().status == 200
        assert counted["bytes"] == total
        assert peak - before < 24 * MEGABYTE

    def test_unfinished_request_body_never_looks_finished(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.send(CHUNKED_POST + b"3\r\nabc\r\n")
            exchange = upstream.next_exchange()
        assert exchange.connection.ended.wait(AT_ONCE_S)
        assert not exchange.is_complete
        assert exchange.connection.received.removeprefix(exchange.head.raw) == b"3\r\nabc\r\n"


def read_pieces(count: int) -> Callable[[Exchange], None]:
    """A handler that takes the body piece by piece up to `count` bytes and then answers."""

    def handle(exchange: Exchange) -> None:
        exchange.read_body_until(count)
        if exchange.is_chunked:
            exchange.wire.read_chunked()
        exchange.send(reply())

    return handle


class TestExpectContinue:
    """`Expect: 100-continue` is answered by the upstream alone (RFC 9110 §10.1.1)."""

    EXPECTING = post(5, b"Expect: 100-continue\r\n")

    def test_continue_comes_from_the_upstream(self, router: RouterProcess, upstream: RawUpstream) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.hold(event)
            exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            exchange.read_body()
            exchange.send(reply(b"thanks"))

        upstream.handler = handle
        with router.connect() as client:
            client.send(self.EXPECTING)
            exchange = upstream.next_exchange()
            assert exchange.head.value(b"Expect") == b"100-continue"
            assert not client.has_bytes(0.1), "the router answered on its own"
            event.set()
            assert client.read_head().start_line == b"HTTP/1.1 100 Continue"
            client.send(b"hello")
            assert client.read_response().body == b"thanks"

    @pytest.mark.parametrize("status", [b"417 Expectation Failed", b"401 Unauthorized", b"413 Content Too Large"])
    def test_refusal_reaches_the_client_before_it_sends_the_body(
        self, router: RouterProcess, upstream: RawUpstream, status: bytes
    ) -> None:
        def handle(exchange: Exchange) -> None:
            exchange.send(reply(b"no", status, [(b"Connection", b"close")]))
            exchange.wait_for_hang_up()

        upstream.handler = handle
        with router.connect() as client:
            answer = client.ask(self.EXPECTING)
            assert (b"%d" % answer.status, answer.interim) == (status[:3], ())

    def test_request_after_a_refusal_is_answered_or_the_connection_closed(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        """Whether the body still comes is unknown; what follows must not be taken for it."""

        def refuse(exchange: Exchange) -> None:
            exchange.send(reply(b"no", b"417 Expectation Failed"))
            exchange.wait_for_hang_up()

        upstream.answers_in_turn(refuse, answering(reply(b"second")))
        with router.connect() as client:
            first = client.ask(self.EXPECTING)
            if first.value(b"Connection") == b"close":
                assert client.how_it_ends() == "closed"
            else:
                assert client.ask(b"hello" + GET).body == b"second"
        assert b"hello" not in b"".join(connection.received for connection in upstream.connections)

    def test_client_that_does_not_wait_is_served(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.send(self.EXPECTING + b"hello")
            assert client.read_response(b"POST").status == 200
        assert upstream.only.body == b"hello"

    def test_final_answer_without_continue_after_the_body(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.send(self.EXPECTING)
            upstream.next_exchange()
            client.send(b"hello")
            answer = client.read_response()
        assert (answer.status, answer.interim) == (200, ())

    def test_expectation_of_an_http_1_0_client_gets_no_interim_answer(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.answers(b"HTTP/1.1 100 Continue\r\n\r\n" + reply())
        answer = router.ask(self.EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
        assert (answer.status, answer.interim) == (200, ())


class TestEarlyAnswers:
    """Answers that come before the request's body is complete (RFC 9112 §9.6)."""

    @pytest.mark.parametrize("close", [True, False], ids=["upstream-closes", "upstream-waits"])
    def test_early_answer_reaches_a_client_that_still_has_to_send(
        self, router: RouterProcess, upstream: RawUpstream, close: bool
    ) -> None:
        def handle(exchange: Exchange) -> None:
            exchange.send(reply(b"too much", b"413 Content Too Large"))
            if close:
                exchange.close()
            else:
                exchange.wait_for_hang_up()

        upstream.handler = handle
        with router.connect() as client:
            client.send(post(1000) + b"abc")
            answer = client.read_response()
            assert (answer.status, answer.body) == (413, b"too much")

    def test_early_answer_is_not_lost_by_a_client_that_sends_on(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        """The router reads on for a while: closing with unread bytes would reset the answer away."""
        length = 4 * MEGABYTE

        def handle(exchange: Exchange) -> None:
            exchange.read_body_until(1)
            exchange.send(reply(b"enough", b"403 Forbidden", [(b"Connection", b"close")]))
            exchange.close()

        upstream.handler = handle
        with router.connect() as client:
            client.send(post(length))
            for _ in range(length // 65536):
                client.send(bytes(65536))
            assert client.read_response().body == b"enough"

    def test_connection_after_an_early_answer_is_in_step_or_closed(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        def handle(exchange: Exchange) -> None:
            exchange.send(reply(b"early"))
            exchange.wait_for_hang_up()

        upstream.answers_in_turn(handle, answering(reply(b"next")))
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x.test\r\n\r\n"
        with router.connect() as client:
            client.send(post(len(hidden)))
            answer = client.read_response()
            client.send(hidden)
            if answer.value(b"Connection") != b"close":
                assert client.ask(GET).body == b"next"
        assert b"/hidden" not in [exchange.target for exchange in upstream.exchanges]

    def test_upstream_connection_with_an_unfinished_request_is_not_reused(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        def handle(exchange: Exchange) -> None:
            exchange.send(reply(b"early"))
            exchange.wait_for_hang_up()

        upstream.answers_in_turn(handle, answering(reply(b"next")))
        with router.connect() as client:
            client.send(post(1000) + b"abc")
            assert client.read_response().body == b"early"
        assert router.ask(GET).body == b"next"
        assert len(upstream.connections) == 2


def wait_until_left(exchange: Exchange) -> None:
    """A handler that never answers and notices when the router leaves."""
    exchange.wait_for_hang_up()


class TestClientGoesAway:
    """Nobody is left to be answered: the upstream is let go at once."""

    @pytest.mark.parametrize("how", ["close", "reset"])
    def test_while_the_upstream_works(self, router: RouterProcess, upstream: RawUpstream, how: str) -> None:
        upstream.handler = wait_until_left
        client = router.connect()
        client.send(GET.replace(b"/s", b"/gone-%s" % how.encode()))
        exchange = upstream.next_exchange()
        getattr(client.wire, how)()
        assert exchange.connection.ended.wait(AT_ONCE_S)
        entry = router.logged(lambda entry: entry["path"] == f"/gone-{how}")
        assert (entry["status"], entry["cause"]) == (499, "client_disconnected")

    @pytest.mark.parametrize("how", ["close", "reset"])
    def test_between_two_events_of_a_stream(self, router: RouterProcess, upstream: RawUpstream, how: str) -> None:
        def handle(exchange: Exchange) -> None:
            exchange.send(CHUNKED_OK + b"1\r\na\r\n")
            exchange.wait_for_hang_up()

        upstream.handler = handle
        client = router.connect()
        client.send(GET.replace(b"/s", b"/stream-%s" % how.encode()))
        client.read_head()
        client.wire.read_chunk()
        getattr(client.wire, how)()
        assert upstream.only.connection.ended.wait(AT_ONCE_S)
        entry = router.logged(lambda entry: entry["path"] == f"/stream-{how}")
        assert (entry["status"], entry["cause"], entry["bytes_out"]) == (200, "client_disconnected", 1)

    def test_in_the_middle_of_a_large_answer(self, router: RouterProcess, upstream: RawUpstream) -> None:
        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                exchange.send(bytes(MEGABYTE))

        upstream.handler = handle
        with router.connect() as client:
            client.send(GET)
            client.read_head()
        assert upstream.only.connection.ended.wait(AT_ONCE_S)

    @pytest.mark.parametrize("how", ["close", "reset"])
    def test_in_the_middle_of_its_own_body(self, router: RouterProcess, upstream: RawUpstream, how: str) -> None:
        client = router.connect()
        client.send(post(1000) + b"abc")
        exchange = upstream.next_exchange()
        getattr(client.wire, how)()
        assert exchange.connection.ended.wait(AT_ONCE_S)
        assert not exchange.is_complete

    def test_while_waiting_with_a_pipelined_request(self, router: RouterProcess, upstream: RawUpstream) -> None:
        """The second request must not hide that its sender has left."""
        upstream.handler = wait_until_left
        client = router.connect()
        client.send(GET + GET)
        exchange = upstream.next_exchange()
        client.wire.reset()
        assert exchange.connection.ended.wait(AT_ONCE_S)
        assert len(upstream.exchanges) == 1

    def test_pipelined_request_waits_for_the_first_answer(self, router: RouterProcess, upstream: RawUpstream) -> None:
        event, handle = gate()
        upstream.handler = handle
        with router.connect() as client:
            client.send(GET + GET)
            upstream.next_exchange()
            event.set()
            assert [client.read_response().body for _ in range(2)] == [b"late", b"late"]
