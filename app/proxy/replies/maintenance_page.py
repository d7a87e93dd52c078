"""The operator's own maintenance page."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

__all__ = ["MaintenancePage"]

logger = getLogger(__name__)

MAX_PAGE_BYTES = 1 << 20
"""A page that everybody is sent while the site is down should be small; a larger file is another one by mistake."""


class MaintenancePage:
    """The template in a file, read again when the file has changed.

    Args:
        path: of an HTML file; "" for none.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._seen: tuple[int, int] | None = None
        self._template = ""

    def template(self) -> str:
        """The page as it was written; "" when there is none or it cannot be read, which the log then tells."""
        if self._path is None:
            return ""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._seen = seen
                self._template = self._read(found.st_size)
        except (OSError, ValueError) as error:
            if self._template or self._seen is None:
                logger.warning("maintenance_page %s cannot be used (%s); showing the built-in page", self._path, error)
            self._seen, self._template = (0, 0), ""
        return self._template

    def _read(self, size: int) -> str:
        assert self._path is not None
        if size > MAX_PAGE_BYTES:
            raise ValueError(f"{size} bytes, limit {MAX_PAGE_BYTES}")
        return self._path.read_text(encoding="utf-8")
