"""Where the code of a release lies: links followed, revisions read, files compared.

A link such as `current` leads elsewhere after the next deploy. What a release was started with must not, so the link
is followed once, at its start.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.installation import ROOT

__all__ = ["files_named", "follow_path_list", "follow_text", "follow_word", "paths_in", "paths_named", "revision_of"]

_GIT_TIMEOUT_S: Final = 5.0
_REVISION_BYTES: Final = 100

_CODE: Final = (
    *(".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".ru", ".php", ".pl", ".sh", ".jar", ".wsgi"),
    *(".conf", ".cfg", ".ini", ".toml", ".yml", ".yaml"),
)


def follow_word(word: str, directory: Path) -> str:
    """A word of a command with its path's links followed; the word itself when it has none on its way.

    `--option=PATH` counts as well. The last part of a path to a file stays as it is: a virtual environment's `python`
    is a link that must not be followed, for Python finds the environment by it.
    """
    option, equals, text = word.rpartition("=")
    if not (equals or "/" in text) or not text:
        return word
    path = os.path.join(directory, text)
    if not os.path.exists(path):
        return word
    real = _real(path)
    return word if real == os.path.normpath(path) else f"{option}{equals}{real}"


def follow_text(text: str, directory: Path) -> str:
    """A text for a shell with the links of the absolute paths in it followed."""
    return re.sub(r"(?<![\w./~$}-])/[\w.+@/-]+", lambda found: follow_word(found[0], directory), text)


def paths_in(text: str) -> list[str]:
    """What may be a path in a text for a shell."""
    return [part for part in re.split(r"[\s;&|<>()'\"`=]+", text) if part]


def _real(path: str) -> str:
    if os.path.isdir(path):
        return os.path.realpath(path)
    head, last = os.path.split(path)
    return os.path.join(os.path.realpath(head), last)


def follow_path_list(name: str, value: str) -> str:
    """A variable's value; in one that says where programs and modules are (`PATH`, `PYTHONPATH`) links are followed."""
    if not name.endswith("PATH"):
        return value
    parts = value.split(os.pathsep)
    return os.pathsep.join(
        os.path.realpath(part) if os.path.isabs(part) and os.path.isdir(part) else part for part in parts
    )


def paths_named(words: Sequence[str]) -> list[str]:
    """The absolute paths to directories and code in the words of a command."""
    texts = (word.rpartition("=")[2] for word in words)
    return [text for text in texts if os.path.isabs(text) and (os.path.isdir(text) or _is_code(text))]


def files_named(words: Sequence[str], directory: Path) -> dict[str, str]:
    """The SHA-256 of each file of code in the directory that the words of a command name, by its path."""
    paths = (os.path.join(directory, word.rpartition("=")[2]) for word in words)
    return {path: digest_of(path) for path in paths if path.startswith(f"{directory}{os.sep}") and _is_code(path)}


def _is_code(path: str) -> bool:
    """Whether a file is a program or looks like code; a log, a socket or a database changes and says nothing."""
    return os.path.isfile(path) and (path.endswith(_CODE) or os.access(path, os.X_OK))


def digest_of(path: str) -> str:
    """The SHA-256 of a file; "" for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def revision_of(directory: Path) -> str | None:
    """The git revision that is checked out there, or what a file REVISION says (Capistrano writes one), else None.

    The directory may be a part of what is checked out, or a worktree. One that a checkout happens to have around it
    without knowing of it, and what belongs to our own checkout, has none.
    """
    return _git_revision(directory) or _noted_revision(directory)


def _git_revision(directory: Path) -> str | None:
    tops = [place for place in (directory, *directory.parents) if (place / ".git").exists()]
    if not tops or tops[0] == ROOT:
        return None
    # HEAD:./ is known only where the directory itself is under version control.
    words = ["git", "-c", "safe.directory=*", "rev-parse", "HEAD", "HEAD:./"]
    try:
        done = subprocess.run(
            words, cwd=directory, env=_without_git(os.environ), capture_output=True, text=True, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split()[0] if done.returncode == 0 else None


def _without_git(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith("GIT_")}


def _noted_revision(directory: Path) -> str | None:
    try:
        with open(directory / "REVISION", "rb") as file:
            text = file.read(_REVISION_BYTES).decode("ascii").split()
    except (OSError, UnicodeDecodeError):
        return None
    return text[0] if text and text[0].isprintable() else None
