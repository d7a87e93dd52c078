"""Settings that are commands: a text or the list of its words, with or without a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from app.shell_text import idiom_in

__all__ = ["as_list", "as_text", "as_texts", "idioms", "takes_socket"]


def as_list(value: object) -> Sequence[object]:
    """One command or path where a list of them may be: a text would be split at its spaces there."""
    return value if isinstance(value, list) else [value]


def as_text(command: object) -> object:
    """A command that is given as the list of its words, as a text that is split into just these; else as it is."""
    is_words = isinstance(command, list) and all(isinstance(word, str) for word in command)
    return shlex.join(command) if isinstance(command, list) and is_words else command


def as_texts(commands: object) -> Sequence[object]:
    """A list of commands, or a single one."""
    return [*map(as_text, as_list(commands))]


def idioms(commands: Mapping[str, Iterable[str]], *, is_shell: bool) -> list[str]:
    """A fault for each command that wants a shell and has none; the commands by the setting that has them."""
    if is_shell:
        return []
    found = ((name, idiom_in(command)) for name, each in commands.items() for command in each)
    return [f"{name} has {idiom}" for name, idiom in found if idiom]


def takes_socket(texts: Iterable[str]) -> bool:
    """Whether one of the texts, a command or a variable of its, leads to the socket that it is to listen on."""
    return any("{socket}" in text or "BG_SOCKET" in text for text in texts)
