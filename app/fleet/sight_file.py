"""The file in which the agent leaves what it has seen of the fleet: `fleet.json`, beside the state file."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

from app.fleet.sight import FleetSight, Standing, standing_of
from app.settings.tables.fleet_settings import FleetConfig
from app.state.store import make_folder, replace_file

__all__ = ["SIGHT_NAME", "fleet_now", "read_sight", "write_sight"]

SIGHT_NAME: Final = "fleet.json"

_MOST_BYTES: Final = 1 << 20


def read_sight(path: str | Path) -> FleetSight | None:
    """What the agent last wrote; None where there is nothing that can be used."""
    with contextlib.suppress(OSError, ValueError):
        with open(path, "rb") as file:
            return FleetSight.from_json(file.read(_MOST_BYTES))
    return None


def fleet_now(folder: Path, config: FleetConfig) -> tuple[FleetSight | None, Standing]:
    """What the agent of the deployment in this folder last wrote, and how this machine stands to its fleet now."""
    sight = read_sight(folder / SIGHT_NAME)
    return sight, standing_of(sight, config, time.time())


def write_sight(path: Path, sight: FleetSight) -> None:
    """Replace it, all or nothing. Nothing hangs on it after a power cut, so it is not flushed. Raises `OSError`."""
    make_folder(path.parent)
    replace_file(path, sight.to_json().encode(), is_flushed=False)
