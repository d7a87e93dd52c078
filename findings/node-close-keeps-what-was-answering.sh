#!/usr/bin/env bash
# Node.js 20 (20.20.2), http.Server.close(): a kept connection whose request is being answered at that moment stays open
# after the answer, for keepAliveTimeout, and so does the process. Idle ones are closed at once.
#
# One would have guessed: after close() a connection ends with the answer that it waits for (Connection: close, or closed once
# idle), as the usual process.on("SIGTERM", () => server.close()) suggests. Here the answer says keep-alive, and the server
# goes on to answer new requests on that connection.
# Seen, with keepAliveTimeout = 6000 and an answer that ends 1 s after close(): the process ends about 7 s after close(),
# "Connection: keep-alive" in the answer; and with keepAliveTimeout set to 1 in the handler about 1 to 2 s after it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > server.js <<'JS'
const http = require("node:http");
const server = http.createServer((request, response) => setTimeout(() => response.end("ok"), 1500));
server.keepAliveTimeout = 6000;
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => {
  server.close();
  if (process.argv[3] === "mended") server.keepAliveTimeout = 1;
});
JS

cat > try.py <<'TRY'
import signal, socket, subprocess, sys, time


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def seconds(*words):
    """How long the server takes to end while it answers one request; the answer is printed."""
    port = free_port()
    server = subprocess.Popen(["node", "server.js", str(port), *words])
    for _ in range(1200):
        try:
            client = socket.create_connection(("127.0.0.1", port), timeout=20)
            break
        except OSError:
            time.sleep(0.05)
    with client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        answer = client.recv(1000)
        server.wait(40)
    took_s = time.monotonic() - began
    print(f"{' '.join(words) or 'plain'}: {answer.splitlines()[0]!r}, keep-alive {b'keep-alive' in answer}, ", end="")
    print(f"ended {took_s:.1f} s after close()")
    return took_s


plain, mended = seconds(), seconds("mended")
sys.exit(not (plain > 6 and mended < 5))
TRY
node --version
python3 try.py
