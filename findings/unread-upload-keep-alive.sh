#!/bin/sh
# gunicorn 27.0.1: a gthread worker says keep-alive to an upload that it will not read, and closes; a gevent worker keeps.
#
# The application answers 405 at once, without reading the body. The client sends head and body, reads the answer, and then
# sees whether the connection that was just announced to be kept is kept.
#
# Guess, written down before the first run: a server that does not want to read the rest of a body says
# "Connection: close" with the answer (RFC 9112 section 9.6), or it reads the rest and keeps the connection; and two workers
# of one server do the same.
#
# Seen: no answer says close. With 60,000 bytes both keep the connection. With 200,000 the gevent worker keeps it, and the
# gthread worker closes it a moment after the answer: it reads 64 KiB of the body in vain and then gives up
# (`Parser.finish_body` with a deadline; without one, as for gevent, it reads to the end). A request that a client sends in
# that moment, as it may on a kept connection, is lost without an answer: for a POST nobody can say whether it ran.
#
#   gthread   60000 bytes: Connection: keep-alive, then kept
#   gthread  200000 bytes: Connection: keep-alive, then closed
#   gevent    60000 bytes: Connection: keep-alive, then kept
#   gevent   200000 bytes: Connection: keep-alive, then kept
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q gunicorn==27.0.1 gevent==26.9.0 packaging
cat > "$folder/app.py" <<'PY'
def app(environ, start_response):
    start_response("405 Method Not Allowed", [("Content-Length", "2")])
    return [b"no"]
PY
cat > "$folder/look.py" <<'PY'
import socket, subprocess, sys, time

def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]

def connect(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")

def look(port, size):
    with connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        answer = b""
        while not answer.endswith(b"\r\n\r\nno"):
            answer += client.recv(65536)
        said = [line.decode() for line in answer.split(b"\r\n") if line.lower().startswith(b"connection")]
        client.settimeout(1)
        try:
            is_closed = client.recv(1) == b""
        except TimeoutError:
            is_closed = False
        except ConnectionResetError:
            is_closed = True
        return f"{said[0]}, then {'closed' if is_closed else 'kept'}"

expected = {
    ("gthread", 60000): "Connection: keep-alive, then kept",
    ("gthread", 200000): "Connection: keep-alive, then closed",
    ("gevent", 60000): "Connection: keep-alive, then kept",
    ("gevent", 200000): "Connection: keep-alive, then kept",
}
found = {}
for worker in ("gthread", "gevent"):
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", worker, "--threads", "2", "--keep-alive", "30"]
    server = subprocess.Popen([*command, "-b", f"127.0.0.1:{port}", "--log-level", "error", "app:app"])
    try:
        for size in (60000, 200000):
            found[worker, size] = look(port, size)
            print(f"{worker:<8} {size:>6} bytes: {found[worker, size]}")
    finally:
        server.terminate()
        server.wait(40)
sys.exit(0 if found == expected else "this has changed")
PY
cd "$folder"
"$folder/venv/bin/python" look.py
