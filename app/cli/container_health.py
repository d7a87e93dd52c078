"""`python -m app.cli.container_health`: whether the router's own report says that clients may come; for HEALTHCHECK."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.cli.entry import enter_home, run
from app.cli.router_client import HEALTH_PATH, RouterClient
from app.settings.toml_file import load_settings

__all__ = ["main"]

_TIMEOUT_S = 4.0
"""Less than the engine's, which kills what takes longer and then knows no reason."""


def main(_argv: Sequence[str]) -> int:
    """Print the router's situation; returns 0 or 1. Raises `RouterUnreachable` without an answer."""
    enter_home()
    answer = RouterClient(load_settings().config, timeout_s=_TIMEOUT_S).get(HEALTH_PATH)
    print(answer.json()["situation"]["sentence"])
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(min(run(main), 1))  # an engine knows no other codes
