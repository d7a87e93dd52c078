#!/bin/sh
# mcp 2.3.0 (Python SDK): a tool call whose answer has arrived whole fails when the session is gone a moment later.
#
# A server with sessions runs a tool that takes half a second. Once its answer has been sent to the end, the server knows the
# session no more and answers 404, as its successor would after a deploy. Nothing of the call itself is disturbed.
#
# Guess, written down before the first run: `call_tool` returns the result, which has come; the lost session shows at the
# next call.
#
# Seen: `call_tool` raises "Session not found". With the answer in its hands the client asks for the list of tools, to
# check the result against the tool's output schema (`ClientSession.validate_tool_result`), unless it has asked before:
#
#   asked: initialize, notifications/initialized, tools/call, tools/list
#   the tool ran 1 time; call_tool: MCPError: Session not found
#   after list_tools: asked: initialize, notifications/initialized, tools/list, tools/call
#   the tool ran 1 time; call_tool: result done
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mcp==2.3.0 uvicorn==0.54.0
cat > "$folder/look.py" <<'PY'
import asyncio, json, logging, socket

import uvicorn
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer

logging.disable(logging.CRITICAL)

async def look(lists_first):
    runs, asked, is_gone = [], [], False
    tools = MCPServer("slow")

    @tools.tool()
    async def slow() -> str:
        runs.append(1)
        await asyncio.sleep(0.5)
        return "done"

    inner = tools.streamable_http_app()

    async def app(scope, receive, send):
        nonlocal is_gone
        if scope["type"] != "http" or scope["method"] != "POST":
            if scope["type"] == "http" and is_gone:
                await forget(send)
            else:
                await inner(scope, receive, send)
            return
        message = await receive()
        method = json.loads(message["body"]).get("method", "")
        asked.append(method)
        if is_gone:
            await forget(send)
            return
        parts = [message]
        await inner(scope, lambda: again(parts, receive), send)
        is_gone = method == "tools/call"

    async def again(parts, receive):
        return parts.pop() if parts else await receive()

    async def forget(send):
        body = json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}).encode()
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 404, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    said = ""
    try:
        async with streamable_http_client(f"http://127.0.0.1:{port}/mcp") as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                if lists_first:
                    await session.list_tools()
                try:
                    said = "result " + (await session.call_tool("slow", {})).content[0].text
                except Exception as error:
                    said = f"{type(error).__name__}: {error}"
    finally:
        server.should_exit = True
        await serving
    seen = [*asked]
    return f"asked: {', '.join(seen)}\nthe tool ran {len(runs)} time; call_tool: {said}"

print(asyncio.run(look(False)))
print("after list_tools: " + asyncio.run(look(True)))
PY
"$folder/venv/bin/python" "$folder/look.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN'
asked: initialize, notifications/initialized, tools/call, tools/list
the tool ran 1 time; call_tool: MCPError: Session not found
after list_tools: asked: initialize, notifications/initialized, tools/list, tools/call
the tool ran 1 time; call_tool: result done
SEEN
