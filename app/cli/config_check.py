"""`config --check`: whether a file could be `traffic_router.toml`, and what a reload would change then."""

from __future__ import annotations

import os
from collections.abc import Mapping

from app.operator_errors import ConfigError, OperatorError
from app.settings.toml_file import load_settings

__all__ = ["check_file"]


def check_file(path: str, cli: Mapping[str, str]) -> int:
    """Print what the file would change; returns the exit code. Raises `ConfigError` with all its faults."""
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is no file")
    found = load_settings(cli, path=path)
    try:
        changes = found.changes_since(load_settings(cli))
    except OperatorError:  # of the file that is used now, which is not what was asked about
        changes = []
    print(f"{path} can be used." + ("" if changes else " It changes no setting."))
    for change in changes:
        print(f"   {change}")
    return 0
