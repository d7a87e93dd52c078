"""An application whose answers go on for a while: OpenAI-style tokens, an MCP tool, a Gradio job, an event stream.

Each counts from 0 until the file `STREAMS_END` is there, and then says "done". It runs in `.venv-peers`, so it imports
nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import gradio
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse
from mcp.server.mcpserver import Context, MCPServer

PAUSE_S = 0.2
_END = Path(os.environ["STREAMS_END"])

PAGE = """<!doctype html><title>news</title><link rel="icon" href="data:,"><script>
window.seen = []; window.opens = 0
const source = new EventSource('/news')
source.onopen = () => opens++
source.onmessage = event => seen.push(event.data)
</script>"""


def parts() -> Iterator[str]:
    """What an answer consists of; who takes one pauses before the next."""
    for part in count():
        if _END.exists():
            break
        yield str(part)
    yield "done"


tools = MCPServer("slow")


@tools.tool()
async def slow(context: Context) -> str:
    """Says how far it is, as it goes."""
    for number, part in enumerate(parts()):
        await context.report_progress(number, message=part)
        await asyncio.sleep(PAUSE_S)
    return part


def job(text: str) -> Iterator[str]:
    for part in parts():
        yield f"{text} {part}"
        time.sleep(PAUSE_S)


mcp_app = tools.streamable_http_app(stateless_http=True)  # a session would be lost with its process
app = FastAPI(lifespan=lambda app: mcp_app.router.lifespan_context(mcp_app))


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/v1/chat/completions")
async def completions() -> StreamingResponse:
    async def tokens() -> AsyncIterator[str]:
        for part in parts():
            choice = {"index": 0, "delta": {"content": part}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            yield f"data: {json.dumps(chunk)}\n\n"
            await asyncio.sleep(PAUSE_S)
        yield "data: [DONE]\n\n"

    return StreamingResponse(tokens(), media_type="text/event-stream")


@app.get("/news")
async def news() -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        yield "retry: 100\n\n"
        while True:
            yield f"data: {os.getpid()}\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/page")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


app.router.routes += mcp_app.router.routes
app = gradio.mount_gradio_app(app, gradio.Interface(job, "text", "text", api_name="job"), path="/gradio")
