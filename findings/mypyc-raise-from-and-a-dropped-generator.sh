#!/usr/bin/env bash
# mypy 2.4.1 (mypyc), CPython 3.11: `raise … from error` sets no cause, and a generator that is dropped runs no `finally`.
#
# One would have guessed: both are statements of the language that the interpreter's own calls can do, so they stay.
# Seen: `__cause__` is None, so a traceback loses the line that says what it came from (`__context__` is there). A
# generator that is dropped half-way is freed without its `finally`; one that is closed, or read to its end, runs it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1
cat > ends.py <<'ENDS'
from collections.abc import Iterator


def caused() -> None:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise ValueError("outer") from inner


def numbers(seen: list[str]) -> Iterator[int]:
    try:
        yield 1
        yield 2
    finally:
        seen.append("finally")
ENDS
cat > show.py <<'SHOW'
import gc

import ends

try:
    ends.caused()
except ValueError as error:
    print("cause", type(error.__cause__).__name__, "context", type(error.__context__).__name__)
for how in ("dropped", "closed", "read"):
    seen = []
    numbers = ends.numbers(seen)
    next(numbers)
    if how == "closed":
        numbers.close()
    if how == "read":
        list(numbers)
    del numbers
    gc.collect()
    print(how, seen)
SHOW
venv/bin/python show.py | tee interpreted
venv/bin/mypyc ends.py > build.log 2>&1
venv/bin/python show.py | tee compiled
grep -q "^cause KeyError context KeyError$" interpreted
grep -q "^dropped \['finally'\]$" interpreted
grep -q "^cause NoneType context KeyError$" compiled
grep -q "^dropped \[\]$" compiled
grep -q "^closed \['finally'\]$" compiled
grep -q "^read \['finally'\]$" compiled
