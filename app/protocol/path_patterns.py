"""Which requests a rule about paths speaks of, whatever way an application reads their targets.

The router passes a target on as it came. Applications decode it, merge its slashes, take parameters off and resolve
its dots, each in its own way and order. So a path has several *readings*, all that any of them could come to, and a
rule that closes goes by each of them: `/x/..;/internal/a` asks for what `/internal/a` asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from app.protocol.fields import remember

__all__ = ["PathPatterns", "path_of", "plainest", "readings"]

_ODD = re.compile(rb"[%;\\#]|//|/\.")
"""What only some applications take as it stands."""

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_PARAMETERS = re.compile(rb";[^/]*")
_SLASHES = re.compile(rb"/{2,}")
_AUTHORITY = re.compile(rb"//[^/]*")

_MOST_BYTES = 16_384
"""Of all readings of one path together: who writes more than this wants to hide something, or to cost time."""

_REMEMBERED: Final = 1024
_REMEMBERED_BYTES: Final = 256


def _without_fragment(path: bytes) -> bytes:
    """RFC 9112 §3.2 knows no fragment in a target; who splits it as a URL finds one."""
    return path.partition(b"#")[0]


def _without_authority(path: bytes) -> bytes:
    """As a URL without a scheme, `//host/path`."""
    return _AUTHORITY.sub(b"", path, count=1) if path.startswith(b"//") else path


def _with_slashes(path: bytes) -> bytes:
    return path.replace(b"\\", b"/")


def _without_parameters(path: bytes) -> bytes:
    """RFC 3986 §3.3 leaves the parameters of a segment to the application."""
    return _PARAMETERS.sub(b"", path)


def _merged(path: bytes) -> bytes:
    return _SLASHES.sub(b"/", path)


def _resolved(path: bytes) -> bytes:
    """Without dot segments (RFC 3986 §5.2.4)."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


_STEPS: Final = (
    _without_fragment,
    _without_authority,
    unquote_to_bytes,
    _with_slashes,
    _without_parameters,
    _merged,
    _resolved,
)


def readings(path: bytes) -> frozenset[bytes] | None:
    """All that applications could read in a path, itself among them; None when that is too much to say."""
    if _ODD.search(path) is None:
        return frozenset((path,))
    found, new, size = {path}, [path], len(path)
    while new:
        one = new.pop()
        for step in _STEPS:
            read = step(one)
            if read not in found:
                found.add(read)
                new.append(read)
                size += len(read)
        if size > _MOST_BYTES:
            return None
    return frozenset(found)


def plainest(path: bytes) -> bytes:
    """What stands for a path in all its spellings, in lower case: its shortest reading that is read in one way only.

    `b"?"` stands for all paths whose readings are too much to say.
    """
    found = readings(path)
    if found is None:
        return b"?"
    plain = [one.rstrip(b"/") for one in found if _ODD.search(one) is None]
    return min(filter(None, plain), key=lambda one: (len(one), one), default=b"/").lower()


class PathPatterns:
    """Exact paths, and prefixes that end with `*`; none of them stands for every path.

    `/internal/*` is `/internal` as well. A query does not matter.
    """

    __slots__ = ("_all", "_exact", "_known", "_loose", "_loose_prefixes", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        written = [pattern.encode() for pattern in patterns]
        self._all = not written
        self._exact = frozenset(path for path in written if not path.endswith(b"*"))
        self._prefixes = tuple(path[:-1] for path in written if path.endswith(b"*"))
        self._loose = frozenset(path.rstrip(b"/") for path in map(_lowered, self._exact))
        self._loose_prefixes = tuple(map(_lowered, self._prefixes))
        self._known: dict[bytes, tuple[bool, bool]] = {}

    def may_cover(self, target: bytes) -> bool:
        """Whether any reading of a request's target is one of these, in whatever case: for what closes."""
        return self._all or self._judged(target)[0]

    def surely_covers(self, target: bytes) -> bool:
        """Whether every reading of a request's target is one of these, as they are written: for what opens."""
        return self._all or self._judged(target)[1]

    def _judged(self, target: bytes) -> tuple[bool, bool]:
        path = target.partition(b"?")[0]
        verdict = self._known.get(path)
        if verdict is None:
            verdict = self._judge(path)
            remember(self._known, path, verdict, _REMEMBERED, _REMEMBERED_BYTES)
        return verdict

    def _judge(self, path: bytes) -> tuple[bool, bool]:
        found = readings(path_of(path))
        if found is None:
            return True, False
        return any(map(self._may_be, found)), all(map(self._is, found))

    def _may_be(self, path: bytes) -> bool:
        lower = path.lower()
        return lower.rstrip(b"/") in self._loose or (lower + b"/").startswith(self._loose_prefixes)

    def _is(self, path: bytes) -> bool:
        return path in self._exact or path.startswith(self._prefixes)


def path_of(target: bytes) -> bytes:
    """The path of a target without its query, of absolute-form too (RFC 9112 §3.2.2)."""
    if target.startswith(b"/"):
        return target
    absolute = _ABSOLUTE.match(target)
    return target if absolute is None else target[absolute.end() :] or b"/"


def _lowered(path: bytes) -> bytes:
    """A pattern as all its readings are compared: what it has encoded, they have decoded."""
    return unquote_to_bytes(path).lower()
