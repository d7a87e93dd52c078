#!/usr/bin/env bash
# hypercorn 0.18.0 with several workers, told to end by SIGINT: the first worker that has nothing to do ends, and the
# master then terminates the others, in the midst of their answers. --graceful-timeout is not reached, nor waited for.
#
# One would have guessed: every worker finishes what it has, for as long as --graceful-timeout allows.
# `hypercorn --help` on --graceful-timeout: time to wait after SIGTERM or Ctrl-C for any remaining requests (tasks).
# Seen: a request that takes 3 s, with 2 workers and --graceful-timeout 30, ends without a byte about half a second after
# SIGINT to the master, and the exit status is 0. With one worker it is answered.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hypercorn==0.18.0

cat > app.py <<'APP'
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await asyncio.sleep(3 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
APP

cat > try.py <<'TRY'
import signal, socket, subprocess, sys, time


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def ask(port, path):
    """What comes back within 20 s on a connection of its own."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n".encode())
    return client


def run(workers):
    port = free_port()
    command = ["venv/bin/hypercorn", "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    server = subprocess.Popen([*command, "--graceful-timeout", "30", "app:app"], stderr=subprocess.DEVNULL)
    for _ in range(1200):
        try:
            with ask(port, "/") as client:
                client.recv(1000)
            break
        except OSError:
            time.sleep(0.05)
    time.sleep(1)  # all workers are there
    with ask(port, "/slow") as client:
        time.sleep(0.5)
        server.send_signal(signal.SIGINT)
        began = time.monotonic()
        try:
            got = client.recv(1000)[:15]
        except ConnectionResetError:
            got = b""
        took_s = time.monotonic() - began
    status = server.wait(40)
    print(f"{workers} workers: {got!r} {took_s:.1f} s after SIGINT, exit status {status}")
    return got


one, two = run(1), run(2)
sys.exit(not (one.startswith(b"HTTP/1.1 200") and two == b""))
TRY
python3 try.py
