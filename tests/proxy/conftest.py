"""A proxy without a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.flying import Flying
from tests.support.raw_upstream import RawUpstream


@pytest.fixture
def fly(tmp_path: Path, upstream: RawUpstream) -> Iterator[Callable[..., Flying]]:
    """Makes the proxy with these settings; `port` names another version, None no version at all."""
    made: list[Flying] = []

    def make(port: int | None = -1, **settings: Any) -> Flying:
        made.append(Flying(tmp_path, upstream.port if port == -1 else port, **settings))
        return made[-1]

    yield make
    for flying in made:
        flying.close()


@pytest.fixture
def flying(fly: Callable[..., Flying]) -> Flying:
    """The proxy with its default settings."""
    return fly()
