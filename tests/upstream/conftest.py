"""A version to talk to; and every test of this room leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.raw_upstream import RawUpstream
from tests.upstream.sessions import TrackedPool, Version


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """Closes the connections of all pools that a test has made."""
    yield
    TrackedPool.close_all()


@pytest.fixture
def version(upstream: RawUpstream) -> Version:
    """A worker's way to it."""
    return Version(upstream.port)
