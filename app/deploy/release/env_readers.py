"""Which other programs take a line of a file of variables for something else than python-dotenv does.

The rules are what the programs were seen to do: docker's `--env-file`, honcho 2.0, Node.js 20's `--env-file`, a shell's
`set -a; . FILE` (bash 5.2, dash) and systemd 252's `EnvironmentFile`. A test asks them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

__all__ = ["MARK", "READERS", "RULES", "otherwise"]

READERS: Final = ("docker", "honcho", "node", "shell", "systemd")

_LINE: Final = re.compile(
    r"\s*(?P<export>export[^\S\r\n]+)?(?P<name>'[^']+'|[^=#\s]+)(?P<gap>[^\S\r\n]*=[^\S\r\n]*)(?P<rest>.*)", re.S
)


class _Parts(NamedTuple):
    """One line: `quote` is what its value is in, and `value` is what is written between, or the bare value."""

    export: bool
    name: str
    gap: str
    quote: str
    value: str
    after: str


class ReaderRule(NamedTuple):
    """What a line may have that `readers` take otherwise; `example` is one that has just that."""

    what: str
    readers: frozenset[str]
    applies: Callable[[_Parts], object]
    example: str


def _bare(pattern: str) -> Callable[[_Parts], object]:
    return lambda line: not line.quote and re.search(pattern, line.value)


def _within(quotes: str, pattern: str) -> Callable[[_Parts], object]:
    return lambda line: line.quote in tuple(quotes) and re.search(pattern, line.value)


def _rule(what: str, readers: str, applies: Callable[[_Parts], object], example: str) -> ReaderRule:
    return ReaderRule(what, frozenset(readers.split()), applies, example)


_EVEN: Final = r"(?<!\\)(?:\\\\)*"
"""An even number of backslashes: what comes after is not escaped."""

RULES: Final[Sequence[ReaderRule]] = (
    _rule("`export` before the name", "docker honcho systemd", lambda it: it.export, "export A=1"),
    _rule(
        "a name with other signs than letters, digits and `_`",
        "honcho shell systemd",
        lambda it: not re.fullmatch(r"'.*'|[A-Za-z_][A-Za-z0-9_]*", it.name),
        "A-B=1",
    ),
    _rule("a name in quotes", "docker node shell systemd", lambda it: it.name.startswith("'"), "'A'=1"),
    _rule("spaces before `=`", "docker shell", lambda it: not it.gap.startswith("="), "A =1"),
    _rule("spaces after `=`", "docker", lambda it: not it.gap.endswith("="), "A= "),
    _rule(
        "spaces between `=` and a value",
        "shell",
        lambda it: not it.gap.endswith("=") and (it.value or (it.quote and not it.export)),
        "A= 1",
    ),
    _rule(
        "spaces at the end", "docker", lambda it: it.after.strip("\r") and not it.quote and "#" not in it.after, "A=1 "
    ),
    _rule(
        "a tab beside `=`, or at the end",
        "node",
        lambda it: "\t" in it.gap or ("\t" in it.after and not it.quote and "#" not in it.after),
        "A=1\t",
    ),
    _rule("no value", "honcho", lambda it: not it.quote and not it.value, "A="),
    _rule("quotes around the value", "docker", lambda it: it.quote, "A='x'"),
    _rule("a comment after the value", "docker systemd", lambda it: "#" in it.after, "A=x # y"),
    _rule("`#` within a value", "honcho node", _bare("#"), "A=x#y"),
    _rule("spaces within a value", "honcho shell", _bare(r"\s"), "A=x y"),
    _rule("a quote within a value", "honcho shell", _bare("['\"]"), "A=it's"),
    _rule("a backquote", "shell", lambda it: it.quote != "'" and "`" in it.value, "A=x`y`"),
    _rule("a backquote at the beginning", "node", _bare(r"\A`.*`"), "A=`y`"),
    _rule("a backslash", "honcho shell systemd", _bare(r"\\"), r"A=C:\x"),
    _rule(
        "`$`", "shell", lambda it: it.quote != "'" and re.search(r"\$[A-Za-z0-9_{(\[$!?*@#'\"-]", it.value), "A=${B}"
    ),
    _rule("`;`, `&`, `<`, `>`, a pipe or a parenthesis", "shell", _bare("[;&|<>()]"), "A=x;y"),
    _rule("`~` where a path begins", "shell", _bare(r"(\A|:)~"), "A=~/x"),
    _rule(r"`\n` in double quotes", "shell systemd", _within('"', _EVEN + r"\\n"), r'A="x\ny"'),
    _rule(r"`\t` in double quotes", "node shell systemd", _within('"', _EVEN + r"\\t"), r'A="x\ty"'),
    _rule(
        r"`\'`, `\a`, `\b`, `\f`, `\r`, `\v` in double quotes",
        "honcho node shell systemd",
        _within('"', _EVEN + r"\\['abfrv]"),
        r'''A="x\'y"''',
    ),
    _rule(r"`\\` in double quotes", "node", _within('"', r"\\\\"), r'A="x\\y"'),
    _rule(r"`\\n`, `\\t` in double quotes", "honcho", _within('"', r"\\\\[nt]"), r'A="x\\ty"'),
    _rule(r"`\"`", "node", _within('"', _EVEN + r'\\"'), r'A="x\"y"'),
    _rule(
        r"`\$` or an escaped backquote in double quotes", "shell systemd", _within('"', _EVEN + r"\\[$`]"), r'A="x\$"'
    ),
    _rule(r"`\\` or `\'` in single quotes", "honcho node shell systemd", _within("'", r"\\[\\']"), r"A='x\\y'"),
    _rule(r"`\n` or `\t` in single quotes", "honcho", _within("'", r"\\[nt]"), r"A='x\ny'"),
    _rule("a value of several lines", "docker honcho", _within("'\"", r"[\r\n]"), "A='x\ny'"),
    _rule("a backslash at the end of a line of them", "shell systemd", _within('"', r"\\\n"), 'A="x\\\ny"'),
    _rule("the line ends of Windows", "shell", lambda it: it.after.endswith("\r"), "A=1\r"),
)
"""What each reader makes of the examples is in the reference."""

MARK: Final = "\ufeff"
_AFTER_MARK: Final = frozenset({"honcho", "node", "shell", "systemd"})


def otherwise(text: str) -> frozenset[str]:
    """The readers that take a line for something else; `text` is one that python-dotenv can read, with its end.

    The first line of a file may have the byte order mark before it.
    """
    line = _parts(text.removeprefix(MARK))
    found = frozenset[str]().union(*(rule.readers for rule in RULES if rule.applies(line)))
    return found | _AFTER_MARK if text.startswith(MARK) else found


def _parts(text: str) -> _Parts:
    found = _LINE.match(text)
    assert found is not None  # python-dotenv has read it
    rest = found["rest"].rstrip("\n")
    quote = rest[:1] if rest[:1] in ("'", '"') else ""
    if quote:
        closed = re.compile(rf"{quote}((?:\\.|[^{quote}\\])*){quote}", re.S).match(rest)
        assert closed is not None
        value, after = closed[1], rest[closed.end() :]
    elif rest.startswith("#") and not found["gap"].endswith("="):
        value, after = "", rest
    else:
        ending = re.search(r"\s+#[^\r]*|\s*\Z", rest)
        cut = ending.start() if ending else len(rest)
        value, after = rest[:cut], rest[cut:]
    return _Parts(found["export"] is not None, found["name"], found["gap"], quote, value, after)
