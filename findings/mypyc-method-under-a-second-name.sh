#!/usr/bin/env bash
# mypy 2.4.1 (mypyc), CPython 3.11: `other = method` in the body of a class.
#
# One would have guessed: the method has two names, as without the compiler, for mypy itself accepts it; or the compiler
# refuses it.
# Seen: it compiles without a word. To make an object of the class then raises SystemError ("returned a result with an
# exception set"), with a KeyError of the method's name as its cause. A second `def` mends it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1
cat > counted.py <<'COUNTED'
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1

    enter = add
COUNTED
cat > show.py <<'SHOW'
try:
    import counted

    counter = counted.Counter()
    counter.enter()
    print("count", counter.count)
except SystemError as error:
    print("SystemError:", error)
    print("cause:", repr(error.__cause__))
SHOW
venv/bin/mypy --strict counted.py > /dev/null
venv/bin/python show.py | tee interpreted
venv/bin/mypyc counted.py > build.log 2>&1
venv/bin/python show.py | tee compiled
grep -q "^count 1$" interpreted
grep -q "^SystemError: .*returned a result with an exception set$" compiled
