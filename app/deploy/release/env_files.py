"""The files of variables that `[app] env_file` names, as python-dotenv reads them."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.deploy.processes.launch import fill
from app.deploy.release.env_readers import MARK, otherwise
from app.deploy.release.places import follow_path_list
from app.operator_errors import ConfigError
from app.settings.checks import is_variable
from app.settings.tables.app_settings import AppConfig
from app.state.model import VERSIONS, VersionState

if TYPE_CHECKING:
    from dotenv.parser import Binding

__all__ = ["read_env_files"]

_SETTING: Final = "[app] env_file in traffic_router.toml"

Warn = Callable[[str], None]
"""Gets one sentence; never a value."""


def read_env_files(
    app: AppConfig, version: VersionState, inherited: Mapping[str, str], warn: Warn = lambda text: None
) -> dict[str, dict[str, str]]:
    """What the files give, by the name of the version that is to have it; {} where none is configured.

    A later file wins over an earlier one. `inherited` is what `${NAME}` stands for with `env_file_interpolate`, beside
    the files' own variables. The other version's are read as well, for it may be started with this release later on;
    where one of its files is missing, it has none. Raises `ConfigError` for a file of this version that cannot be read.
    """
    if not app.env_file:
        return {}
    found = {version.name: _read_all(app, version.name, version.release, inherited, warn)}
    (other,) = (name for name in VERSIONS if name != version.name)
    with suppress(ConfigError):
        found[other] = _read_all(app, other, version.release, inherited, lambda text: None)
    return found


def _read_all(
    app: AppConfig, version: str, release: str | None, inherited: Mapping[str, str], warn: Warn
) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in app.env_file:
        path = Path(fill(text, {"version": version, "release": release or ""})).absolute()
        bindings = _bindings(path, warn)
        _tell_of_readers(path, bindings, app.env_file_readers, warn)
        for binding in bindings:
            if binding.key is None:
                continue
            if binding.value is None:
                warn(f"{path}, line {_line(binding)} has no `=`, so it is left out")
                continue
            value = binding.value
            if app.env_file_interpolate:
                value = _interpolated(value, {**inherited, **values})
            values[binding.key] = follow_path_list(binding.key, value)
    return values


def _bindings(path: Path, warn: Warn) -> list[Binding]:
    """The lines of one file; raises `ConfigError` for what is none of NAME=VALUE, naming file and line only."""
    from dotenv.parser import parse_stream  # only who has such a file waits for it

    text = _text(path, warn)
    bindings = list(parse_stream(StringIO(text)))
    if bindings and text.startswith(MARK):  # the parser leaves it out
        first = bindings[0].original
        bindings[0] = bindings[0]._replace(original=first._replace(string=MARK + first.string))
    for binding in bindings:
        if binding.error:
            raise ConfigError(f"{path}, line {_line(binding)} is not NAME=VALUE", _SETTING)
        if binding.key is not None and not (is_variable(binding.key) and "\0" not in (binding.value or "")):
            raise ConfigError(f"{path}, line {_line(binding)} has what no variable can hold", _SETTING)
    return bindings


def _tell_of_readers(path: Path, bindings: Sequence[Binding], readers: Collection[str], warn: Warn) -> None:
    """Name the variables whose lines other programs that read the file take for something else."""
    if not readers:
        return
    names: dict[str, list[str]] = {reader: [] for reader in readers}
    for binding in bindings:
        if binding.key is not None and binding.value is not None:
            for reader in otherwise(binding.original.string) & names.keys():
                names[reader].append(_label(binding))
    told = [f"{reader} ({', '.join(dict.fromkeys(found))})" for reader, found in names.items() if found]
    if told:
        warn(
            f"{path} has lines that are read otherwise by {', '.join(told)}; docs/reference/environment-files.md says "
            f"how to write them, and [app] env_file_readers which of these programs matter"
        )


def _label(binding: Binding) -> str:
    """The variable's name, or the line where that may be part of a secret: a key of several lines, without quotes."""
    name, value = binding.key or "", binding.value or ""
    is_plain = re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name) is not None
    return name if is_plain and value.strip("=") else f"line {_line(binding)}"


def _text(path: Path, warn: Warn) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{path} is not a file", _SETTING)
        if mode & stat.S_IROTH and all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents):
            warn(f"everybody on this machine can read {path}; chmod o= {shlex.quote(str(path))}")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", _SETTING) from error
    except UnicodeDecodeError as error:
        # Not chained: the error holds the file's bytes.
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})", _SETTING) from None


def _line(binding: Binding) -> int:
    """Where what was read begins; the parser counts from the empty lines before it."""
    text = binding.original.string.removeprefix(MARK)
    before = text[: len(text) - len(text.lstrip())]
    return binding.original.line + before.replace("\r\n", "\n").replace("\r", "\n").count("\n")


def _interpolated(value: str, known: Mapping[str, str]) -> str:
    from dotenv.variables import parse_variables

    return "".join(atom.resolve(known) for atom in parse_variables(value))
