#!/usr/bin/env bash
# uvicorn 0.54.0 on a Unix socket (--uds), with a proxy in front of it: X-Forwarded-Proto and X-Forwarded-For are ignored,
# every request is plain http and has no client; on a port of loopback, with the same command line otherwise, both are
# believed. A list of addresses in --forwarded-allow-ips cannot name who comes through the socket, only "*" lets them in.
#
# One would have guessed: a socket that the file system guards is believed at least as much as loopback, which every user
# of the machine can reach. gunicorn 27.0.1 does so: on a socket it takes the scheme from X-Forwarded-Proto.
# Who moves an application from a port to a socket gets links with http:// and, with a redirect to https, a circle.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvicorn==0.54.0 gunicorn==27.0.1

cat > app.py <<'APP'
async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    client = scope["client"]
    body = f"{scope['scheme']} from {client[0] if client else 'nobody'}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [f"{environ['wsgi.url_scheme']} from {environ['REMOTE_ADDR'] or 'nobody'}".encode()]
APP

cat > try.py <<'TRY'
import socket, subprocess, time

REQUEST = b"GET / HTTP/1.1\r\nHost: x.test\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def connected(family, place):
    for _ in range(300):
        client = socket.socket(family)
        client.settimeout(10)
        try:
            client.connect(place)
            return client
        except OSError:
            client.close()
            time.sleep(0.1)
    raise SystemExit("the server did not begin")


def said(command, family, place):
    server = subprocess.Popen(["venv/bin/" + command[0], *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connected(family, place) as client:
            client.sendall(REQUEST)
            answer = b""
            while data := client.recv(1000):
                answer += data
        return answer.partition(b"\r\n\r\n")[2].decode().split("\r\n")[-1 if b"chunked" not in answer else 1]
    finally:
        server.terminate()
        server.wait()


port = free_port()
unix = socket.AF_UNIX
seen = {
    "uvicorn on a port": said(["uvicorn", "--port", str(port), "app:asgi"], socket.AF_INET, ("127.0.0.1", port)),
    "uvicorn on a socket": said(["uvicorn", "--uds", "a.sock", "app:asgi"], unix, "a.sock"),
    "with 127.0.0.1 allowed": said(["uvicorn", "--uds", "b.sock", "--forwarded-allow-ips", "127.0.0.1", "app:asgi"], unix, "b.sock"),
    "with * allowed": said(["uvicorn", "--uds", "c.sock", "--forwarded-allow-ips", "*", "app:asgi"], unix, "c.sock"),
    "gunicorn on a socket": said(["gunicorn", "--no-control-socket", "-b", "unix:d.sock", "app:wsgi"], unix, "d.sock"),
}
for what, answer in seen.items():
    print(f"{what}: {answer}")
assert list(seen.values()) == [
    "https from 192.0.2.9",
    "http from nobody",
    "http from nobody",
    "https from 192.0.2.9",
    "https from nobody",
], "this has changed"
TRY
venv/bin/python try.py
# Output:
# uvicorn on a port: https from 192.0.2.9
# uvicorn on a socket: http from nobody
# with 127.0.0.1 allowed: http from nobody
# with * allowed: https from 192.0.2.9
# gunicorn on a socket: https from nobody
