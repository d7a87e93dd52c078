from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.deployment import Deployment


@pytest.fixture
def deployments(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments, each in a folder of its own; their processes end with the test."""
    made: list[Deployment] = []

    def make(**settings: object) -> Deployment:
        folder = tmp_path / f"deployment{len(made)}"
        folder.mkdir()
        made.append(Deployment(folder, **settings))  # type: ignore[arg-type]  # fields of AppConfig by name
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture
def deployment(deployments: Callable[..., Deployment]) -> Deployment:
    return deployments()
