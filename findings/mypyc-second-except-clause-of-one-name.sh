#!/usr/bin/env bash
# mypy 2.4.1 (mypyc), CPython 3.11: two `except … as error` in one function share a variable, and that has one type.
#
# One would have guessed: the name is unbound at the end of each clause, mypy itself accepts the two types, so each clause
# gets its own exception; or the compiler refuses what it cannot do.
# Seen: it compiles without a word. The second clause raises TypeError ("First object expected; got Second") in place of
# what it should do, so a program that is not tried on that path meets it in production. Other names mend it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1
cat > caught.py <<'CAUGHT'
class First(Exception):
    pass


class Second(Exception):
    pass


def shared(error_type: type[Exception]) -> str:
    try:
        raise error_type("said")
    except First as error:
        return f"first {error}"
    except Second as error:
        return f"second {error}"


def apart(error_type: type[Exception]) -> str:
    try:
        raise error_type("said")
    except First as first:
        return f"first {first}"
    except Second as second:
        return f"second {second}"
CAUGHT
cat > show.py <<'SHOW'
import caught

for function in (caught.shared, caught.apart):
    for kind in (caught.First, caught.Second):
        try:
            print(function.__name__, function(kind))
        except TypeError as error:
            print(function.__name__, "TypeError:", error)
SHOW
venv/bin/mypy --strict caught.py > /dev/null
venv/bin/python show.py > interpreted
venv/bin/mypyc caught.py > build.log 2>&1
venv/bin/python show.py > compiled
diff interpreted compiled && exit 1
grep -q "^shared second said$" interpreted
grep -q "^shared TypeError: caught.First object expected; got caught.Second$" compiled
grep -q "^apart second said$" compiled
