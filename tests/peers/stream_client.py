"""A client that takes one long answer: `stream_client.py KIND ADDRESS`; prints "begun", in the end its parts as JSON.

It runs in `.venv-peers`, so it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

BEGUN = "begun"


def openai(address: str) -> list[str]:
    from openai import OpenAI

    client = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    got: list[str] = []
    for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
        if not got:
            say(BEGUN)
        got.append(chunk.choices[0].delta.content or "")
    return got


def mcp(address: str) -> list[str]:
    return asyncio.run(_call_the_tool(f"{address}/mcp"))


async def _call_the_tool(address: str) -> list[str]:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    got: list[str] = []

    async def progress(number: float, total: float | None, message: str | None) -> None:
        if not got:
            say(BEGUN)
        got.append(message or "")

    async with streamable_http_client(address) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            result = await session.call_tool("slow", {}, progress_callback=progress)
            return got if result.content[0].text == got[-1] else ["another result", str(result)]


def gradio(address: str) -> list[str]:
    from gradio_client import Client

    job = Client(f"{address}/gradio", verbose=False).submit("job", api_name="/job")
    while not job.outputs() and not job.done():
        time.sleep(0.05)
    say(BEGUN)
    job.result(timeout=60)
    return [output.removeprefix("job ") for output in job.outputs()]


KINDS = {"openai": openai, "mcp": mcp, "gradio": gradio}


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    say(json.dumps(KINDS[sys.argv[1]](sys.argv[2])))
