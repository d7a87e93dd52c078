#!/usr/bin/env bash
# Node.js 20.20.2, `--env-file`: a byte order mark becomes part of the first name, and a line without `=` of the next one.
#
# One would have guessed: a byte order mark is passed over, as `require` does for JSON and JavaScript files, and a line
# without `=` sets nothing and leaves the next line alone.
# Seen: process.env has "\ufeffFIRST" and no FIRST; and "LONELY\nAFTER" and no AFTER.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --no-save --prefix . node@20.20.2 > /dev/null
printf '\xef\xbb\xbfFIRST=1\nLONELY\nAFTER=2\nLAST=3\n' > shop.env

cat > show.js <<'SHOW'
const names = Object.keys(process.env).filter((name) => /FIRST|LONELY|AFTER|LAST/.test(name));
console.log(JSON.stringify(names.sort()));
SHOW
seen=$(env -i node_modules/node/bin/node --env-file=shop.env show.js)
echo "$(node_modules/node/bin/node --version): $seen"
test "$seen" = "$(printf '["LAST","LONELY\\nAFTER","\xef\xbb\xbfFIRST"]')"
