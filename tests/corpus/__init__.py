"""Raw requests and answers with the outcome each must have; README.md says how to read the tables."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One raw message: its name, its exact bytes and its table of expectations."""

    name: str
    raw: bytes = field(repr=False)
    expected: dict[str, Any]  # the value's type depends on its key; README.md lists them


def load(folder: str) -> list[Case]:
    """All cases of a folder below `tests/corpus`, in the order of its table.

    Raises: ValueError when a file has no table or a table no file.
    """
    place = FOLDER / folder
    tables = tomllib.loads((place / "expected.toml").read_text())
    files = {path.stem for path in place.glob("*.http")}
    if files != set(tables):
        raise ValueError(f"{folder}: files and tables differ in {sorted(files ^ set(tables))}")
    return [Case(name, (place / f"{name}.http").read_bytes(), table) for name, table in tables.items()]
