#!/usr/bin/env bash
# gunicorn 27.0.1, gevent worker, SIGTERM: it waits for connections on which no request is, up to --graceful-timeout.
# The asgi worker does so too. gthread, beside it, closes them and ends after about two seconds.
#
# One would have guessed: an idle connection is closed at once, since nothing is lost by that (RFC 9112 §9.3 lets a server
# close one at any time), and "graceful timeout" is about requests.
# Seen, with one client that has had its answer and keeps its connection, and --graceful-timeout 8: gevent ends after 8 s,
# asgi after 8 s, gthread after 2 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check gunicorn==27.0.1 gevent==26.9.0 packaging==26.4

cat > app.py <<'APP'
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
APP

cat > try.py <<'TRY'
import signal, socket, subprocess, sys, time


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def seconds(kind, app):
    """How long the server takes to end while one idle connection is open."""
    port = free_port()
    options = ["--keep-alive", "75", "--graceful-timeout", "8", "--no-control-socket", "--threads", "2"]
    command = ["venv/bin/gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", kind, *options, app]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        try:
            client = socket.create_connection(("127.0.0.1", port), timeout=20)
            break
        except OSError:
            time.sleep(0.05)
    with client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += client.recv(1000)
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        server.wait(40)
    took_s = time.monotonic() - began
    print(f"{kind}: ended after {took_s:.1f} s")
    return took_s


gevent, asgi, gthread = seconds("gevent", "app:wsgi"), seconds("asgi", "app:asgi"), seconds("gthread", "app:wsgi")
sys.exit(not (gevent > 7 and asgi > 7 and gthread < 6))
TRY
python3 try.py
