"""What a version was started with, whole, as a value and as JSON: enough to start exactly this once more."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Final

from app.operator_errors import StateError

__all__ = ["Release", "decode_release", "encode_release"]


@dataclass(frozen=True)
class Release:
    """One release as it was started; never changed afterwards.

    `id` begins with a number that is higher for each later one. `given_dir` and `given_command` are what the options
    or the settings said, with their placeholders; `directory` and `command` are what came of it, with links followed.
    `{port}`, `{address}` and `{version}` stand in the words of `command` still, for another version may be started with
    them.
    `program` is the file that is executed, `stop_signal` what tells it to end, `files` the SHA-256 of those in the
    directory that the command names. `place` is what tells the code of one release from that of another: when it is
    the same and `origin` is not, something else was put there. `inode` is the directory's. `inherited` is the
    environment of the command that started it. `files_env` is what the settings' files add to it, by the version that
    is to have it, and `env` what the settings themselves add, with `{port}`, `{address}` and `{version}` still in it.
    `settings_file` is where the settings were read.
    """

    id: str
    name: str | None
    made_at: float
    made_by: str
    is_deploy: bool
    is_demo: bool
    origin: str
    given_dir: str
    given_command: str
    directory: str
    inode: int
    revision: str | None
    command: tuple[str, ...]
    program: str
    stop_signal: str
    place: tuple[str, ...]
    files: Mapping[str, str]
    inherited: Mapping[str, str] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    files_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    settings_file: str | None = None

    @property
    def number(self) -> int:
        """Which one it is, counted from 1."""
        return int(self.id.partition("-")[0])

    def environment_digest(self, key: bytes) -> str:
        """Tells whether two were started with the same environment, without telling what is in it.

        Who knows the other variables could try guesses at a secret against a plain hash; not without the key.
        """
        text = json.dumps([self.inherited, self.env, self.files_env], sort_keys=True)
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:12]


def encode_release(release: Release) -> bytes:
    """The record's bytes."""
    return json.dumps(asdict(release), indent=2).encode("ascii") + b"\n"


def decode_release(raw: bytes) -> Release:
    """Read a record's bytes; raises `StateError` that says what is wrong with them."""
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise StateError(f"not JSON: {error}") from error
    if not isinstance(given, dict):
        raise StateError("it is not a JSON object")
    given = {**_ADDED_LATER, **given}
    for name, fits in _FITS.items():
        if name not in given or not fits(given[name]):
            raise StateError(f"{name} is missing or not what it should be")
    known = {name: given[name] for name in _FITS}
    return Release(**{**known, "command": tuple(given["command"]), "place": tuple(given["place"])})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_words(value: object) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(word, str) for word in value)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_tables(value: object) -> bool:
    return isinstance(value, dict) and all(_is_table(table) for table in value.values())


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.partition("-")[0].isdecimal()


_BY_TYPE: Final[Mapping[str, Callable[[object], bool]]] = {
    "str": _is_text,
    "str | None": _is_text_or_null,
    "float": lambda value: isinstance(value, int | float),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int),
    "tuple[str, ...]": _is_words,
    "Mapping[str, str]": _is_table,
    "Mapping[str, Mapping[str, str]]": _is_tables,
}

_ADDED_LATER: Final[Mapping[str, object]] = {"files_env": {}, "settings_file": None}
"""What the records of older programs do not have, and what stands for it."""

_FITS: Final = {about.name: _BY_TYPE[str(about.type)] for about in fields(Release)} | {"id": _is_id}
"""How each key of a record is checked."""
