"""One module for each table of `traffic_router.toml`: its settings class, and its row in the registry.

Whoever adds a table writes its module and a line here; the file, `config`, the reference and the page know it then.
"""

from typing import Final

from app.settings.table import Table
from app.settings.tables import application, deploy, release, router

__all__ = ["TABLES"]

TABLES: Final[tuple[Table, ...]] = (router.TABLE, application.TABLE, deploy.TABLE, release.TABLE)
"""In the order in which they are listed everywhere."""
