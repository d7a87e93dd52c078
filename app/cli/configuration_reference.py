"""Write `docs/reference/configuration.md` from the fields, so that the page and the program cannot differ."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Final

from app.installation import ROOT
from app.settings.declaration import Table, TableArray
from app.settings.engine import describe
from app.settings.kinds import Setting, shown
from app.settings.loading import ENV_PREFIX, HOME_VARIABLE, TOML_NAME
from app.settings.tables import ARRAYS, TABLES
from app.withheld import REASONS

__all__ = ["PAGE", "page"]

PAGE = ROOT / "docs" / "reference" / "configuration.md"

_INTRODUCTION = f"""# Configuration

<!-- Generated from the settings' fields by `make reference`; edit those instead. -->

Every setting has a default, so no configuration is needed to begin. A setting is taken from the first of
these that has it:

1. the command line: `bin/traffic_router start --port=8080`;
2. the environment: `{ENV_PREFIX}` and the setting's name in capitals, such as
   `{ENV_PREFIX}READ_TIMEOUT=10`; `PORT` sets `main_port` too, unless `{ENV_PREFIX}MAIN_PORT` does;
3. the file `{TOML_NAME}` in the working directory;
4. the default.

The working directory is the project's root, from wherever a command is typed, or, with an
[installed package](../how-to/install.md), the directory that it is typed in; the variable `{HOME_VARIABLE}` names
another. Relative paths begin there.

`bin/traffic_router config` prints every setting in effect and where it came from. A value that cannot be
used, a name that does not exist and values that contradict each other are all reported together, and the
exit code is 2.

Times may carry `ms`, `s`, `m` or `h`, sizes `K`, `M` or `G` (powers of 1024), as in `"500ms"` or `"10M"`. In
a variable, the members of a list are parted by commas or spaces.

```toml
# {TOML_NAME}
main_port = 8080
max_body_bytes = "10M"

[app]
command = "gunicorn --bind 127.0.0.1:{{port}} shop:app"
dir = "/srv/shop"
health_path = "/healthz"
env = {{ DATABASE_URL = "postgresql:///shop" }}

[deploy]
smoke = ["curl -fsS http://127.0.0.1:{{port}}/cart"]
```
"""

_COMMANDS = """### Commands

A command is a text, which is split into words as a shell splits it, or a list of words, which needs no quotes:
`command = ["gunicorn", "--bind", "127.0.0.1:{port}", "shop:app"]`. What only a shell understands is refused (exit
code 2) with what to write instead, for the program would get it as it stands:

| In a command | Instead |
|--------------|---------|
| `$PORT`, `${PORT:-8000}` | `{port}`; `{version}` for `$BG_VERSION`, and so on |
| `$NAME` of another variable | its value |
| `cd DIRECTORY && …` | `dir` |
| `NAME=value program` | `env`, or `env NAME=value program` |
| `source .venv/bin/activate && program` | `.venv/bin/program` |
| `exec program` | `program` |
| `>`, `<`, `&`, `~/`, `;`, `&&`, a pipe, backquotes, `directory/*` | `shell = true` |

What is in single quotes is an argument as it stands. So is what comes after `-c`, and a text with spaces in double
quotes: `sh -c "echo $PORT"`. Signs inside a word, as in `http://127.0.0.1:{port}/?a=1&b=2` or `--allow=*`, are left
alone.

With `shell = true`, `/bin/sh -c` gets the text. The last program takes the shell's place, so that signals reach it,
unless pipes, groups, loops or `&` are in the text. A release whose name a shell would take for more than a word is
refused where `{release}` is filled in; `"$BG_RELEASE"` takes any name. Links in absolute paths are followed at the
start, as without a shell.
"""

_ENVIRONMENT = """### The environment of a version

Each of these wins over the one before it:

1. the environment of the command that starts something new (`start` with an option, `run`, `deploy`), without what is
   below; with `clean_env`, only what is listed there;
2. the files of `env_file`, in their order;
3. `env`;
4. `PORT`, `BG_VERSION` and `BG_RELEASE`; `BG_INSTANCE` and `BG_SOCKET` with
   [several processes or sockets](../how-to/run-several-processes.md).

What comes of it is recorded with the release, so that `restart`, `rollback` and a `start` without options give the same
again, in whatever shell they are typed and whatever the files say by then. Commands of `[deploy]` get it, too. Where a
path in `env_file` has `{version}`, the files of both versions are read, for either may be started with the release.

By default the whole environment is passed on, because under systemd, in a container or with a Procfile that is how an
application is told its settings. Where people and CI jobs type the commands, `clean_env` makes it the same for all.

The router's own settings and virtual environment are never passed on, nor are these, which end before the version does;
a router in the background does not get them either. `env` and `env_file` can set them. What systemd says to the process
of a unit (`INVOCATION_ID`, `JOURNAL_STREAM`, `SYSTEMD_EXEC_PID`) reaches a version that is started with `run`, and no
version or router in the background, whose output goes to a file.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *(line for table in (*TABLES, *ARRAYS) for line in _part(table))])


def _part(table: Table) -> list[str]:
    """What the page says of one table."""
    where = f"In the table `[{table.name}]` of `{TOML_NAME}`: {table.about}"
    if isinstance(table, TableArray):
        where = f"In tables `{table.header}` of `{TOML_NAME}`, as many as you like: {table.about}"
    elif not table.name:
        where = f"At the top level of `{TOML_NAME}`, or in its table `[router]`."
    return [
        f"## {table.title}",
        "",
        *wrap(where, 115, break_long_words=False, break_on_hyphens=False),
        "",
        "| Setting | Default | Allowed | Meaning |",
        "|---------|---------|---------|---------|",
        *(_row(about, "" if table.name else _variable(about)) for about in describe(table.settings).values()),
        "",
        *_NOTES.get(table.name, ()),
    ]


_NOTES: Final[Mapping[str, Sequence[str]]] = {
    "app": [
        _COMMANDS,
        _ENVIRONMENT,
        "| Variables | Why |",
        "|-----------|-----|",
        *(f"| {', '.join(f'`{name}`' for name in names)} | {reason} |" for reason, names in REASONS.items()),
        "",
    ]
}
"""What there is to say below the settings of a table."""


def _variable(about: Setting) -> str:
    return f"<br>`{ENV_PREFIX}{about.name.upper()}`"


def _row(about: Setting, variable: str) -> str:
    default = f"`{shown(about, about.default)}`"
    zero = f" `{shown(about, about.kind())}` means {about.zero}." if about.zero else ""
    return f"| `{about.name}`{variable} | {default} | {about.allowed} | {about.help}{zero} |"


def main(path: Path = PAGE) -> int:
    """Write the page; returns the exit code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(), encoding="utf-8")
    print(f"Wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
