"""What a canary command has decided about its rollout before it does anything."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from app.canary.course import Course
from app.state.model import BlueGreenState
from app.state.split import Split

__all__ = ["CanaryPlan"]


@dataclass(frozen=True)
class CanaryPlan:
    """One rollout: its course, who counts as one client where these stay (`Split.sticky`), and its salt.

    The salt also says which split of the state file is this rollout's.
    """

    course: Course
    sticky: str = "off"
    salt: str = field(default_factory=lambda: secrets.token_hex(8))

    def split_in(self, state: BlueGreenState) -> Split | None:
        """The split in the state, if it is this rollout's."""
        return state.split if state.split is not None and state.split.salt == self.salt else None
