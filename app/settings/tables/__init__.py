"""One module for each table of `traffic_router.toml`: its settings class, and its row in one of the registries.

Whoever adds a table writes its module and a line here; the file, `config`, the reference and the page know it then.
"""

from typing import Final

from app.settings.declaration import Table, TableArray
from app.settings.tables import (
    app_settings,
    backends_settings,
    canary_settings,
    deploy_settings,
    fleet_settings,
    limit_settings,
    login_settings,
    release_settings,
    router_settings,
)

__all__ = ["ARRAYS", "TABLES"]

TABLES: Final[tuple[Table, ...]] = (
    router_settings.TABLE,
    app_settings.TABLE,
    deploy_settings.TABLE,
    release_settings.TABLE,
    backends_settings.TABLE,
    canary_settings.TABLE,
    fleet_settings.TABLE,
)
"""In the order in which they are listed everywhere."""

ARRAYS: Final[tuple[TableArray, ...]] = (limit_settings.TABLE, login_settings.TABLE)
"""The tables of which there may be several, `[[name]]`, in the order in which they are listed after the others."""
