#!/usr/bin/env bash
# mypy 2.4.1 (mypyc), CPython 3.11: a slice of bytes whose end is before its beginning is no longer empty but an error.
#
# One would have guessed: mypyc compiles what it cannot do faster to the interpreter's own calls, so `b"abc"[2:1]` is b""
# as the language has it, and as compiled slices of str, list and tuple are.
# Seen: SystemError, "Negative size passed to PyBytes_FromStringAndSize". Bounds beyond either end are fine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1
cat > cut.py <<'CUT'
def of_bytes(value: bytes, begin: int, end: int) -> bytes:
    return value[begin:end]


def of_str(value: str, begin: int, end: int) -> str:
    return value[begin:end]
CUT
cat > show.py <<'SHOW'
import cut

for function, value in ((cut.of_bytes, b"abc"), (cut.of_str, "abc")):
    for begin, end in ((1, 9), (9, 12), (2, 1)):
        try:
            print(value, begin, end, repr(function(value, begin, end)))
        except SystemError as error:
            print(value, begin, end, "SystemError:", error)
SHOW
venv/bin/python show.py > interpreted
venv/bin/mypyc cut.py > build.log 2>&1
venv/bin/python show.py > compiled
diff interpreted compiled && exit 1
grep -q "b'abc' 2 1 b''" interpreted
grep -q "b'abc' 2 1 SystemError: Negative size" compiled
test "$(diff interpreted compiled | grep -c '^>')" = 1
