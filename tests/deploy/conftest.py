from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.deploy.deployer import Overrides
from tests.deploy.rehearsal import Rehearsal
from tests.deploy.shop import Shop


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


@pytest.fixture
def both(rehearsal: Rehearsal) -> Rehearsal:
    """Blue is active with r1, green is the standby with r2; both run."""
    rehearsal.deployer().start("blue", Overrides(release="r1"))
    rehearsal.deployer().start("green", Overrides(release="r2"))
    rehearsal.events.clear()
    return rehearsal


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A deployment whose commands are processes; nothing runs."""
    shop = Shop(tmp_path)
    yield shop
    shop.close()
