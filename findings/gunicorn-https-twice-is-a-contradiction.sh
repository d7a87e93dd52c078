#!/usr/bin/env bash
# gunicorn 27.0.1, defaults, from 127.0.0.1: two fields that both say https are refused as contradictory, when one of them is
# `X-Forwarded-Protocol: https`. Of `secure_scheme_headers` exactly one word counts as https ("ssl" in this field, "on" in
# X-Forwarded-Ssl, "https" in X-Forwarded-Proto, all lower case), and any other word as http rather than as unknown.
#
# Guessed beforehand: https wins where every field says it; a word that gunicorn does not know is passed over.
# Seen: "X-Forwarded-Protocol: https" alone: scheme http. With "X-Forwarded-Proto: https" beside it: 400. With
# "X-Forwarded-Protocol: ssl" beside it: scheme https. "X-Forwarded-Proto: HTTPS" alone: scheme http.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check gunicorn==27.0.1 packaging==26.4

cat > app.py <<'APP'
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.url_scheme"].encode()]
APP

cat > try.py <<'TRY'
import http.client, socket, subprocess, sys, time

with socket.create_server(("127.0.0.1", 0)) as held:
    port = held.getsockname()[1]
server = subprocess.Popen(
    [sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}", "app:wsgi"],
    stderr=subprocess.DEVNULL,
)


def ask(fields):
    """The scheme that the application is told, or the status that gunicorn answers by itself."""
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/", headers=fields)
        except ConnectionRefusedError:
            time.sleep(0.1)
            continue
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == 200 else str(answer.status)
    raise SystemExit("gunicorn does not answer")


try:
    seen = [
        ask({"X-Forwarded-Protocol": "https"}),
        ask({"X-Forwarded-Protocol": "https", "X-Forwarded-Proto": "https"}),
        ask({"X-Forwarded-Protocol": "ssl", "X-Forwarded-Proto": "https"}),
        ask({"X-Forwarded-Proto": "HTTPS"}),
    ]
finally:
    server.terminate()
    server.wait()
print(seen)
raise SystemExit(seen != ["http", "400", "https", "http"])
TRY
venv/bin/python try.py
