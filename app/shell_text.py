"""What only a shell understands in a command that is run without one, and how a shell is given a command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["by_shell", "idiom_in"]

_QUOTED: Final = "\0"
"""Stands for each character that is quoted, so that a text keeps its length."""

_BLANK: Final = " \t\r\n"
_ESCAPED_IN_DOUBLE_QUOTES: Final = tuple('$`"\\')

_NAME: Final = r"[A-Za-z_][A-Za-z_0-9]*"
_VARIABLE: Final = rf"\$(?:({_NAME})|\{{({_NAME})[^}}]*\}})"
_ASSIGNMENT: Final = rf"({_NAME})="
_OURS: Final = {
    "PORT": "{port}",
    "BG_VERSION": "{version}",
    "BG_RELEASE": "{release}",
    "BG_INSTANCE": "{instance}",
    "BG_SOCKET": "{socket}",
}

_SIGNS: Final = frozenset("$`|;&<>~*")

_SHELL: Final = "set shell = true in the same table"
_BUILTINS: Final = {
    "cd": "[app] dir is where a command runs",
    "exec": "leave it out: no shell is there to be replaced",
    "source": "name the program by its path, as in .venv/bin/gunicorn",
    ".": "name the program by its path, as in .venv/bin/gunicorn",
    "export": "[app] env has variables",
    "ulimit": _SHELL,
    "umask": _SHELL,
    "set": _SHELL,
    "eval": _SHELL,
}


class _Word(NamedTuple):
    """One word of a command: as it is written, without what is quoted, and without what is in single quotes only."""

    raw: str
    bare: str
    in_double: str


def idiom_in(command: str) -> str:
    """What a shell would do with this command that nobody does without one, and what to write instead; "" for nothing.

    What is in single quotes is an argument as it stands, and so is a text with spaces in double quotes, or after `-c`.
    The answer has names of variables in it, and never their values.
    """
    if not _may_have_idioms(command):
        return ""
    words = _words(command)
    first = words[0]
    if found := re.match(_ASSIGNMENT, first.bare):
        return f"{found[1]}=… before the program: [app] env has variables, or begin with `env {found[1]}=…`"
    if first.bare in _BUILTINS:
        return f"`{first.bare}`, which is no program: {_BUILTINS[first.bare]}"
    before = ""
    for word in words:
        if said := _in_word(word, before):
            return said
        before = word.raw
    return ""


def _may_have_idioms(command: str) -> bool:
    """Whether a look is worth it: the patterns are compiled at their first use, and every command would wait for it."""
    program = command.split(None, 1)[:1]
    return program != [] and (not _SIGNS.isdisjoint(command) or "=" in program[0] or program[0] in _BUILTINS)


def _in_word(word: _Word, before: str) -> str:
    for text in (word.bare, "" if _is_program_text(word, before) else word.in_double):
        if found := re.search(_VARIABLE, text):
            name = found[1] or found[2]
            instead = f"write {_OURS[name]}" if name in _OURS else f"put its value there, or {_SHELL}"
            return f"${name}, which nobody fills in: {instead}"
    for pattern, what, instead in _IDIOMS:
        if re.search(pattern, word.bare):
            return f"{what}: {instead}; or, if it is meant as it stands, put it in single quotes"
    return ""


def _is_program_text(word: _Word, before: str) -> bool:
    """Whether the word is a program's text for another program (`sh -c "…"`) or one that is to be read by people."""
    return re.fullmatch(r"-\w*[ce]|--eval|--command", before) is not None or any(it in word.raw for it in _BLANK)


_IDIOMS: Final[Sequence[tuple[str, str, str]]] = (
    (r"\$\(|`", "a command in a command (`$(…)`)", _SHELL),
    (r"^(&&|\|\|)|(&&|\|\|)$", "`&&` or `||` between commands", _SHELL),
    (r"^\|&?$", "a pipe (`|`)", _SHELL),
    (r"^;+$|;$", "`;` between commands", _SHELL),
    (r"&$", "`&`, to go on without waiting", "leave it out, for a version has to stay in the foreground"),
    (r"^\d*(<|>)|^&>", "a redirection (`>`, `<`)", f"a version's output is kept in its log, or {_SHELL}"),
    (r"^~(/|$)", "`~`, which a shell makes a home directory of", "write the whole path"),
    (r"^[^-=:]*/[^=:]*\*|^[^-=:]*\*[^=:]*/", "`*`, which a shell makes names of files of", _SHELL),
)


def by_shell(command: str) -> tuple[str, ...]:
    """The arguments that have a shell run a command.

    The program takes the shell's place (`exec`) where it is the last one, so that it is the version's first process and
    gets each signal itself.
    """
    return ("/bin/sh", "-c", _with_exec(command))


_COMPOUND: Final = (
    r"[()\n`]|<<|(?<![|])\|(?![|])|(?<![&<>])&(?![&>])|\$\(|(^|[\s;&|])[{}!](\s|$)"
    r"|(^|[\s;&|])(if|then|else|elif|fi|for|while|until|do|done|case|esac|function|time|select)(?=[\s;]|$)"
)
"""Where the last command is not simply what stands last: pipes, groups, loops, what runs in the background."""


def _with_exec(command: str) -> str:
    masked = _masked(command)
    if re.search(_COMPOUND, masked):
        return command
    start = max((found.end() for found in re.finditer(r"&&|\|\||;", masked)), default=0)
    last = re.compile(rf"\s*(?:{_NAME}=\S*\s+)*").match(masked, start)
    place = last.end() if last else start
    program = re.compile(r"\S*").match(masked, place)
    if program is None or program[0] in ("", *_BUILTINS) or re.match(_ASSIGNMENT, program[0]):
        return command
    return f"{command[:place]}exec {command[place:]}"


def _masked(text: str, *, keeps_double: bool = False) -> str:
    """The text with each quoted character, and each quote, replaced; those in double quotes only if not kept."""
    masked, quote, position = "", "", 0
    while position < len(text):
        char = text[position]
        is_escape = char == "\\" and (
            quote == "" or (quote == '"' and text[position + 1 :].startswith(_ESCAPED_IN_DOUBLE_QUOTES))
        )
        if is_escape:
            masked += _QUOTED * len(text[position : position + 2])
            position += 2
            continue
        if quote:
            masked += char if keeps_double and quote == '"' and char != '"' else _QUOTED
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote, masked = char, masked + _QUOTED
        else:
            masked += char
        position += 1
    return masked


def _words(text: str) -> list[_Word]:
    bare, in_double = _masked(text), _masked(text, keeps_double=True)
    spans = [found.span() for found in re.finditer(rf"[^{re.escape(_BLANK)}]+", bare)]
    return [_Word(text[a:b], bare[a:b], in_double[a:b]) for a, b in spans]
