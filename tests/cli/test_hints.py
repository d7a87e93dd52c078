"""Every error of a command says which command mends it, or looks into it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import operator_errors
from app.operator_errors import ConfigError, OperatorError

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["app/cli", "app/deploy", "app/state/model.py", "app/state/store.py"]

WITHOUT = {
    "a message of the codec gets its hint where the file is read": "app/state/codec.py",
    "a fault of the program itself: phases in a wrong order": "app/deploy/phases.py",
}
"""Files whose errors need none, and why."""


def files() -> Iterator[Path]:
    for room in ROOMS:
        path = ROOT / room
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def without_hint(path: Path) -> Iterator[str]:
    """Where a file raises an error of ours with its message alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)):
            continue
        raised = getattr(operator_errors, node.exc.func.id, object)
        # The message of a ConfigError names the setting, its place and what is allowed there.
        if issubclass(raised, OperatorError) and raised is not ConfigError and len(node.exc.args) < 2:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node.exc)}"


def test_every_error_has_a_hint() -> None:
    found = [
        place for path in files() if str(path.relative_to(ROOT)) not in WITHOUT.values() for place in without_hint(path)
    ]
    assert found == []


@pytest.mark.parametrize("path", WITHOUT.values(), ids=str)
def test_what_is_left_out_is_still_needed(path: str) -> None:
    assert list(without_hint(ROOT / path))
