from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.rehearsal import Rehearsal


@pytest.fixture
def deployments(tmp_path: Path) -> Iterator[Callable[..., Rehearsal]]:
    """Makes deployments, each in a folder of its own; their processes end with the test."""
    made: list[Rehearsal] = []

    def make(**settings: object) -> Rehearsal:
        folder = tmp_path / f"deployment{len(made)}"
        folder.mkdir()
        made.append(Rehearsal(folder, **settings))  # type: ignore[arg-type]  # fields of AppConfig by name
        return made[-1]

    yield make
    for rehearsal in made:
        rehearsal.close()


@pytest.fixture
def rehearsal(deployments: Callable[..., Rehearsal]) -> Rehearsal:
    return deployments()
