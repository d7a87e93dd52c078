"""What every test of this room leaves behind: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.upstream.sessions import TrackedPool


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """Closes the connections of all pools that a test has made."""
    yield
    TrackedPool.close_all()
