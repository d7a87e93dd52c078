#!/usr/bin/env bash
# hypercorn 0.18.0, application cannot be imported: the traceback is printed, and the exit status is 0. With --workers 0,
# one process without a master, it is 1.
#
# One would have guessed: not 0, as with gunicorn (1 or 3), uvicorn, daphne, granian and waitress (1), so that a service manager
# or a script learns that nothing serves.
# Seen: "default: exit status 0", "--workers 0: exit status 1".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hypercorn==0.18.0
echo 'import nothing_of_that_kind' > app.py

run() { # how it ended, with the given options
    local status=0
    timeout 30 venv/bin/hypercorn --bind 127.0.0.1:0 "$@" app:app > output 2>&1 || status=$?
    grep -q "No module named 'nothing_of_that_kind'" output
    echo "$status"
}

default=$(run)
single=$(run --workers 0)
echo "default: exit status $default"
echo "--workers 0: exit status $single"
[ "$default" = 0 ] && [ "$single" != 0 ]
