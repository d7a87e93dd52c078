"""A program for the peers' Python: reads answers as JSON and writes what httplint says of each.

In: list of [name, method, start line, list of [name, value], body], all latin-1 text. Out: list of
[name, level, summary].
"""

from __future__ import annotations

import json
import sys

from httplint.message import HttpRequestLinter, HttpResponseLinter


def main() -> None:
    """Goes through the answers."""
    found = []
    for name, method, line, fields, body in json.load(sys.stdin):
        asked = HttpRequestLinter()
        asked.process_request_topline(method.encode(), b"http://x.test/", b"1.1")
        asked.process_headers([(b"Host", b"x.test")])
        asked.finish_content(True)
        linter = HttpResponseLinter(_related=asked, no_content=method == "HEAD")
        version, status, phrase = line.encode("latin-1").split(b" ", 2)
        linter.process_response_topline(version.rpartition(b"/")[2], status, phrase)
        linter.process_headers([(key.encode("latin-1"), value.encode("latin-1")) for key, value in fields])
        linter.feed_content(body.encode("latin-1"))
        linter.finish_content(True)
        found += [[name, note.level.value, note.summary] for note in linter.notes]
        found += [[name, part.level.value, part.summary] for note in linter.notes for part in note.subnotes]
    json.dump(found, sys.stdout)


main()
