"""The file `traffic_router.toml`, and the one call that gives a process its settings from all layers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from app.command_line import PROGRAM
from app.operator_errors import ConfigError
from app.settings.loading import TOML_NAME, Loaded, load
from app.settings.tables.login_settings import LoginConfig

__all__ = ["check_libraries", "load_settings", "read_toml"]


def read_toml(path: str | Path = TOML_NAME) -> dict[str, object]:
    """The file's content as nested dicts; an empty one when there is no such file.

    Raises `ConfigError` when the file cannot be read or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            import tomllib  # a command of a project without this file starts the sooner

            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{path} cannot be used: {getattr(error, 'strerror', None) or error}") from error


def load_settings(
    cli: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    path: str | Path = TOML_NAME,
    *,
    may_be_gone: bool = False,
) -> Loaded:
    """The settings in effect for this process, from the command line down to the defaults.

    `may_be_gone`: a link to a state file that is not there is no fault. Raises `ConfigError` with every fault.
    """
    loaded = load(cli or {}, os.environ if environ is None else environ, read_toml(path))
    state_file = loaded.config.state_file
    # A link on the way, such as a release directory has to what the releases share: what lies beside the file lies
    # beside where it leads, also once that release directory is gone.
    target = os.path.realpath(state_file)
    if os.path.islink(state_file) and not os.path.exists(target) and not may_be_gone:
        raise ConfigError(f"state_file = {state_file} is a link to {target}, which is not there", _mending_link(target))
    if target == os.path.abspath(state_file) or not os.path.isdir(os.path.dirname(target)):
        return loaded
    return loaded.with_router(state_file=target)


def check_libraries(loaded: Loaded) -> Loaded:
    """The settings themselves; raises ConfigError where they need a library that not every installation has.

    For the router, which cannot do without. A command, such as a rollback, can.
    """
    for login in loaded.every(LoginConfig):
        if login.jwt_issuer and not (find_spec("jwt") and find_spec("cryptography")):
            raise ConfigError(
                f"[[login]] {login.name}: jwt needs PyJWT and cryptography: pip install 'traffic-router[jwt]'"
            )
    return loaded


def _mending_link(target: str) -> str:
    """What to do about a link to a state file that is gone, or was never there."""
    folder = Path(target).parent
    if (folder / "history.jsonl").exists() or any(folder.glob("*.last_good.json")):
        return f"{PROGRAM} repair"
    return f"mkdir -p {folder} && echo '{{\"active_version\": null}}' > {target}   # to begin with none active"
