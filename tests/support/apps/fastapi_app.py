"""A FastAPI application for uvicorn: echoes, streams, uploads, downloads and a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

app = FastAPI()

ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]


@app.get("/health")
async def health() -> str:
    """For the router's health check."""
    return "ok"


@app.api_route("/echo", methods=ANY_METHOD)
async def echo(request: Request) -> JSONResponse:
    """What arrived here."""
    body = await request.body()
    found = {
        "method": request.method,
        "url": str(request.url),
        "query": request.url.query,
        "client": request.client.host if request.client else None,
        "headers": dict(request.headers.items()),
        "body": body.decode("latin-1"),
    }
    return JSONResponse(found)


@app.put("/upload")
@app.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    """Counts a streamed body."""
    size = 0
    async for part in request.stream():
        size += len(part)
    return {"size": size}


@app.get("/download")
async def download(size: int) -> StreamingResponse:
    """So many bytes, in blocks, without a length."""

    async def blocks() -> AsyncIterator[bytes]:
        for begin in range(0, size, 65536):
            yield bytes(min(65536, size - begin))

    return StreamingResponse(blocks(), media_type="application/octet-stream")


@app.get("/events")
async def events() -> StreamingResponse:
    """Five server-sent events."""

    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.get("/cookies")
async def cookies() -> Response:
    """Two cookies."""
    response = Response("set")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


@app.get("/redirect")
async def redirect(request: Request) -> RedirectResponse:
    """To /echo on the host that the client named."""
    return RedirectResponse(str(request.url_for("echo")))


@app.get("/nothing")
async def nothing() -> Response:
    """204."""
    return Response(status_code=204)


@app.websocket("/ws")
async def websocket(peer: WebSocket) -> None:
    """Sends back every text or binary message."""
    await peer.accept()
    try:
        while True:
            message = await peer.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await peer.send_text(message["text"])
            else:
                await peer.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return
