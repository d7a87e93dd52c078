#!/usr/bin/env bash
# httptools 0.9.0 (llhttp), one HttpResponseParser for several answers, with lenient_keep_alive=True as its documentation
# offers it for peers that go on after `Connection: close`.
#
# One would have guessed: what is complete leaves nothing behind, so the hundredth answer is read as the first.
# Seen: of an answer without a body (204, 304) that says `Connection: close`, the length stays, and the digits of the next
# one's Content-Length are put behind it. The eleventh `Content-Length: 10` raises HttpParserError, "Content-Length
# overflow". With 200 and a body, or without the close, a thousand pass. A fresh parser reads what this one refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check httptools==0.9.0
cat > show.py <<'SHOW'
from httptools import HttpParserError, HttpResponseParser


class Silent:
    pass


def accepted(answer: bytes) -> str:
    parser = HttpResponseParser(Silent())
    parser.set_dangerous_leniencies(lenient_keep_alive=True)
    for number in range(1000):
        try:
            parser.feed_data(answer)
        except HttpParserError as error:
            return f"{number}, then {error}"
    return "all"


for line, body in (("304 Not Modified", ""), ("204 No Content", ""), ("200 OK", "0123456789")):
    for more in ("", "Connection: close\r\n"):
        answer = f"HTTP/1.1 {line}\r\n{more}Content-Length: 10\r\n\r\n{body}"
        print(line, repr(more), accepted(answer.encode()))
SHOW
venv/bin/python show.py | tee seen
test "$(grep -c ' all$' seen)" = 4
test "$(grep -c "'Connection: close.*' 10, then Content-Length overflow$" seen)" = 2
