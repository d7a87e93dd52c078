"""What is said about a version from which traffic was taken back."""

from __future__ import annotations

from app.state.model import VersionState
from app.units import duration_text, plain

__all__ = ["given_up"]


def given_up(version: VersionState, now: float) -> str:
    """In words, that this release was rolled back, where that is so; "" else. Nothing sends anybody there without."""
    if version.rolled_back_at is None:
        return ""
    return plain(f"{version.release or version.name} was rolled back {duration_text(now - version.rolled_back_at)} ago")
