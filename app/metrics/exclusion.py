"""Which requests are left out of the figures, as `metrics_exclude` says."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Exclusion"]


class Exclusion:
    """Exact paths, and prefixes that end with `*`."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, entries: Sequence[str]) -> None:
        self._exact = frozenset(path.encode() for path in entries if not path.endswith("*"))
        self._prefixes = tuple(path[:-1].encode() for path in entries if path.endswith("*"))

    def covers(self, target: bytes) -> bool:
        """Whether a request for `target` is left out; its query does not matter."""
        path = target.partition(b"?")[0]
        return path in self._exact or path.startswith(self._prefixes)
