#!/usr/bin/env bash
# honcho 2.0.0, `.env`: the words of a value without quotes are joined, and an empty value is no variable at all.
#
# One would have guessed: `GREETING=good morning` gives "good morning", as Foreman, from which the format comes, and
# python-dotenv read it; or just "good", as a shell would see it. And `EMPTY=` sets an empty variable.
# Seen: "goodmorning", without a word about it, and no EMPTY. In quotes the value is whole.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check honcho==2.0.0 python-dotenv==1.2.4
printf '%s\n' 'GREETING=good morning' 'EMPTY=' 'QUOTED="good morning"' > .env

cat > show.py <<'SHOW'
import os

print({name: os.environ.get(name) for name in ("GREETING", "EMPTY", "QUOTED")})
SHOW
by_honcho=$(env -u GREETING -u EMPTY -u QUOTED venv/bin/honcho run venv/bin/python show.py)
by_dotenv=$(venv/bin/python -c 'import dotenv; print(dict(dotenv.dotenv_values(".env")))')
echo "honcho:        $by_honcho"
echo "python-dotenv: $by_dotenv"
test "$by_honcho" = "{'GREETING': 'goodmorning', 'EMPTY': None, 'QUOTED': 'good morning'}"
test "$by_dotenv" = "{'GREETING': 'good morning', 'EMPTY': '', 'QUOTED': 'good morning'}"
