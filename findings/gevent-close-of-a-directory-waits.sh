#!/usr/bin/env bash
# gevent 26.9.0, patched: `os.close` of a directory returns before it is closed, and a lock on it is still held.
#
# One would have guessed: `os.close(fd)` closes, so that a `flock` on the open directory is gone when it returns, as
# without gevent and as for a regular file. A second `flock` in the same process then has it at once.
# Seen: once there is a hub, the directory stays open until the event loop has come round, so that this process waits for
# itself, for ever where it blocks. `flock(fd, LOCK_UN)` before the close gives the lock back at once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check gevent==26.9.0

cat > close.py <<'CLOSE'
import sys

from gevent import get_hub, monkey

monkey.patch_all()
get_hub()

import fcntl
import os


def is_free_after_close(path: str, gives_back: bool) -> bool:
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    if gives_back:
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
    again = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


os.mkdir("one")
os.mkdir("two")
open("file", "w").close()
print(is_free_after_close("file", False), is_free_after_close("one", False), is_free_after_close("two", True))
CLOSE
found=$(venv/bin/python close.py)
echo "free again: a file, a directory, a directory given back before: $found"
test "$found" = "True False True"
