"""docs/reference/errors.md has every error with what the code says about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import errors
from app.errors import CAUSES, RouterError
from app.operator_errors import OperatorError

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")

ROWS = {
    cause: (int(status), text, int(retry) if retry else None)
    for status, cause, text, retry in re.findall(
        r"^\| (\d{3}) \| `(\w+)` \| ([^|]+) \| (\d*) ?\| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE
    )
}
"""Of each cause in the table: status, text and Retry-After in seconds."""

KINDS: list[type[OperatorError]] = [OperatorError, *OperatorError.__subclasses__()]
CLASSES = {
    value.cause: value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RouterError)
}


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause != "none"])
def test_cause_is_in_the_table_as_the_code_has_it(cause: str) -> None:
    error = CLASSES[cause]
    assert ROWS[cause] == (error.status, error.text, error.retry_after_s)


def test_every_error_has_a_place_among_the_causes() -> None:
    """Explicitly: its number is what metrics files store, whatever the order of the classes becomes."""
    assert set(CAUSES) == {"none", *CLASSES}
    assert len(set(CAUSES)) == len(CAUSES)


def test_table_has_no_cause_that_does_not_exist() -> None:
    assert set(ROWS) == set(CAUSES) - {"none"}


@pytest.mark.parametrize("code", sorted({kind.exit_code for kind in KINDS}))
def test_exit_code_is_in_the_table(code: int) -> None:
    assert re.search(rf"^\| {code} \| \S", PAGE, re.MULTILINE)
