"""Clients and applications that people use, on both sides of the router."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator

import aiohttp
import httpx
import pytest
import websockets.sync.client
import websockets.sync.server
from websockets.exceptions import InvalidStatus

from tests.support.app_process import running_app
from tests.support.router_process import RouterProcess, running_router

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """A router with a FastAPI application on uvicorn behind it."""
    folder = tmp_path_factory.mktemp("fastapi")
    with running_app("fastapi", folder) as port, running_router(folder / "router", port) as router:
        yield router


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """A router with a Django application on gunicorn behind it."""
    folder = tmp_path_factory.mktemp("django")
    with running_app("django", folder) as port, running_router(folder / "router", port) as router:
        yield router


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, through a router, of a server that sends back each message."""

    def serve(peer: websockets.sync.server.ServerConnection) -> None:
        for message in peer:
            peer.send(message)

    with websockets.sync.server.serve(serve, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with running_router(tmp_path_factory.mktemp("websockets"), port) as router:
            yield f"ws://127.0.0.1:{router.port}/chat"
        server.shutdown()
        thread.join(10)


class TestHttpx:
    """httpx in front of FastAPI."""

    @pytest.fixture
    def client(self, fastapi: RouterProcess) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=f"http://127.0.0.1:{fastapi.port}", trust_env=False) as client:
            yield client

    def test_many_requests_on_one_connection(self, client: httpx.Client) -> None:
        for number in range(50):
            assert client.get("/echo", params={"n": number}).json()["query"] == f"n={number}"

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
    def test_every_method(self, client: httpx.Client, method: str) -> None:
        assert client.request(method, "/echo").json()["method"] == method

    def test_json_and_form_and_files(self, client: httpx.Client) -> None:
        assert json.loads(client.post("/echo", json={"a": "ü"}).json()["body"].encode("latin-1")) == {"a": "ü"}
        assert client.post("/echo", data={"a": "1", "b": "2"}).json()["body"] == "a=1&b=2"
        files = {"file": ("a.txt", b"content of the file", "text/plain")}
        assert "content of the file" in client.post("/echo", files=files).json()["body"]

    def test_streamed_upload(self, client: httpx.Client) -> None:
        def parts() -> Iterator[bytes]:
            for _ in range(64):
                yield bytes(65536)

        assert client.post("/upload", content=parts()).json() == {"size": 4 * MEGABYTE}

    def test_streamed_download(self, client: httpx.Client) -> None:
        with client.stream("GET", "/download", params={"size": 4 * MEGABYTE + 1}) as response:
            assert sum(len(part) for part in response.iter_raw()) == 4 * MEGABYTE + 1

    def test_abandoned_download_leaves_the_next_request_alone(self, client: httpx.Client) -> None:
        with client.stream("GET", "/download", params={"size": 64 * MEGABYTE}) as response:
            next(response.iter_raw())
        assert client.get("/echo").status_code == 200

    def test_server_sent_events(self, client: httpx.Client) -> None:
        with client.stream("GET", "/events") as response:
            assert [line for line in response.iter_lines() if line] == [f"data: {n}" for n in range(5)]

    def test_redirect_leads_back_through_the_router(self, fastapi: RouterProcess, client: httpx.Client) -> None:
        answer = client.get("/redirect", follow_redirects=True)
        assert answer.url == f"http://127.0.0.1:{fastapi.port}/echo"
        assert answer.json()["headers"]["x-forwarded-host"] == f"127.0.0.1:{fastapi.port}"

    def test_cookies_stay_with_their_client(self, client: httpx.Client) -> None:
        client.get("/cookies")
        assert dict(client.cookies) == {"a": "1", "b": "2"}
        assert client.get("/echo").json()["headers"]["cookie"] == "a=1; b=2"
        client.cookies.clear()
        assert "cookie" not in client.get("/echo").json()["headers"]

    def test_head_and_no_content(self, client: httpx.Client) -> None:
        assert client.head("/echo").content == b""
        assert client.get("/nothing").status_code == 204
        assert client.get("/echo").status_code == 200


class TestAiohttp:
    """aiohttp in front of FastAPI, with much at once."""

    def test_hundred_requests_at_once(self, fastapi: RouterProcess) -> None:
        async def run() -> list[str]:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{fastapi.port}") as session:

                async def one(number: int) -> str:
                    async with session.post("/echo", data=str(number)) as response:
                        body: str = (await response.json())["body"]
                        return body

                return await asyncio.gather(*(one(number) for number in range(100)))

        assert asyncio.run(run()) == [str(number) for number in range(100)]

    def test_chunked_upload_that_waits_for_continue(self, fastapi: RouterProcess) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield bytes(1000)

        async def run() -> dict[str, int]:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{fastapi.port}") as session:
                async with session.put("/upload", data=parts(), expect100=True) as response:
                    found: dict[str, int] = await response.json()
                    return found

        assert asyncio.run(run()) == {"size": 20_000}

    def test_websocket(self, fastapi: RouterProcess) -> None:
        async def run() -> list[object]:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{fastapi.port}") as session:
                async with session.ws_connect("/ws") as socket:
                    await socket.send_str("text")
                    await socket.send_bytes(b"\x00\xff")
                    return [(await socket.receive()).data for _ in range(2)]

        assert asyncio.run(run()) == ["text", b"\x00\xff"]


class TestWebsockets:
    """The `websockets` package on both sides."""

    def test_messages_of_every_size(self, echo: str) -> None:
        with websockets.sync.client.connect(echo, proxy=None) as client:
            for size in (0, 1, 125, 126, 65535, 65536, 900_000):
                client.send(bytes(size))
                assert client.recv() == bytes(size)

    def test_compressed_text(self, echo: str) -> None:
        with websockets.sync.client.connect(echo, proxy=None, compression="deflate") as client:
            client.send("ü" * 10_000)
            assert client.recv() == "ü" * 10_000
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]

    def test_ping_is_answered_by_the_other_end(self, echo: str) -> None:
        with websockets.sync.client.connect(echo, proxy=None) as client:
            assert client.ping().wait(5)

    def test_close_code_and_reason_reach_the_other_end(self, echo: str) -> None:
        with websockets.sync.client.connect(echo, proxy=None) as client:
            client.close(4321, "done")
        assert (client.close_code, client.close_reason) == (4321, "done")

    def test_thirty_clients_at_once(self, echo: str) -> None:
        with contextlib.ExitStack() as stack:
            connect = websockets.sync.client.connect
            clients = [stack.enter_context(connect(echo, proxy=None)) for _ in range(30)]
            for number, client in enumerate(clients):
                client.send(str(number))
            assert [client.recv() for client in clients] == [str(number) for number in range(30)]

    def test_declined_handshake_is_seen_as_its_status(self, fastapi: RouterProcess) -> None:
        address = f"ws://127.0.0.1:{fastapi.port}/nowhere"
        with pytest.raises(InvalidStatus) as refused, websockets.sync.client.connect(address, proxy=None):
            pass
        assert refused.value.response.status_code == 403


class TestDjango:
    """Django behind the router, addressed as `shop.test`."""

    HEADERS = {"Host": "shop.test"}

    @pytest.fixture
    def client(self, django: RouterProcess) -> Iterator[httpx.Client]:
        base = f"http://127.0.0.1:{django.port}"
        with httpx.Client(base_url=base, trust_env=False, headers=self.HEADERS) as client:
            yield client

    def test_application_knows_how_it_is_addressed(self, django: RouterProcess, client: httpx.Client) -> None:
        found = client.get("/where/", headers={"X-Request-ID": "shop-1"}).json()
        assert found["uri"].startswith("http://shop.test")
        assert found["forwarded_for"] == "127.0.0.1"
        assert found["request_id"] == "shop-1"

    def test_claimed_forwarding_is_not_believed(self, client: httpx.Client) -> None:
        lies = {
            "X-Forwarded-Host": "evil.test",
            "X-Forwarded-For": "6.6.6.6",
            "X_Forwarded_Host": "evil.test",
        }
        found = client.get("/where/", headers=lies).json()
        assert "evil" not in found["uri"]
        assert found["forwarded_for"] == "127.0.0.1"

    def test_missing_slash_redirects_to_the_public_name(self, client: httpx.Client) -> None:
        answer = client.get("/where")
        assert (answer.status_code, answer.headers["Location"]) == (301, "/where/")

    def test_form_with_csrf_protection(self, client: httpx.Client) -> None:
        token = client.get("/form").text
        # Sent as a field: the cookie belongs to shop.test, the connection to 127.0.0.1.
        fields = {"Cookie": f"csrftoken={client.cookies.get('csrftoken') or token}"}
        answer = client.post("/form", data={"name": "Ada", "csrfmiddlewaretoken": token}, headers=fields)
        assert (answer.status_code, answer.text) == (200, "hello Ada")

    def test_streamed_export(self, client: httpx.Client) -> None:
        assert client.get("/rows").text.count("\r\n") == 1000
