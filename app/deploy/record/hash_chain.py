"""The chain of hashes through the history: a line that was changed, taken out or put in afterwards is found.

Each line carries the hash of the line before it as `prev`, and as `hash` the SHA-256 of its own content with
`prev` in it. Whoever changes a line must compute every later one anew; note the last hash somewhere else
(`history --verify` prints it), and even that is found. What no chain can show by itself is that lines are missing
at the very end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["FIRST", "ChainLink", "chained", "last_hash", "links"]

FIRST: Final = ""
"""The `prev` of the first line."""


class ChainLink(NamedTuple):
    """One line: its number from 1, its hash, and what is wrong with it or "".

    A line from before the chain was introduced has no hash, and nothing is wrong with it.
    """

    number: int
    hash: str
    fault: str


def chained(line: Mapping[str, object], previous: str) -> bytes:
    """The bytes of a line, chained to the one whose hash is given."""
    content = {**line, "prev": previous}
    return json.dumps({**content, "hash": _hash(content)}).encode() + b"\n"


def last_hash(end: bytes) -> str:
    """The hash of the last line that has one; torn lines and those of older programs are passed over."""
    for raw in reversed(end.splitlines()):
        line = _parse(raw)
        if line is not None and isinstance(line.get("hash"), str):
            return str(line["hash"])
    return FIRST


def links(lines: Sequence[bytes]) -> list[ChainLink]:
    """Every line with what is wrong with it."""
    found: list[ChainLink] = []
    previous, has_begun = FIRST, False
    for number, raw in enumerate(lines, 1):
        line = _parse(raw)
        own = line.get("hash") if line is not None else None
        fault = _fault(line, previous, has_begun)
        found.append(ChainLink(number, own if isinstance(own, str) else "", fault))
        if isinstance(own, str):
            # The next one is judged by what stands here, so that one wrong line is one fault.
            previous, has_begun = own, True
    return found


def _fault(line: Mapping[str, object] | None, previous: str, has_begun: bool) -> str:
    if line is None:
        return "is not readable: torn by a power cut or a full disk, or damaged"
    if "hash" not in line:
        return "has no hash: it was not written by a command" if has_begun else ""
    content = {key: value for key, value in line.items() if key != "hash"}
    if _hash(content) != line["hash"]:
        return "was changed after it was written"
    if line.get("prev") != previous:
        return "does not follow the line before it: lines between them were taken out, put in or moved"
    return ""


def _parse(raw: bytes) -> dict[str, object] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _hash(content: Mapping[str, object]) -> str:
    # In a fixed order and spacing, so that the same content has the same hash however it was laid out.
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()
