"""Upgrade (RFC 9110 §7.8): to which protocols a connection may be switched."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["known_of", "was_asked_for"]


def known_of(value: bytes, known: Iterable[str]) -> bytes:
    """The protocols of an Upgrade field that are among the `known` ones, in the client's order and spelling."""
    names = {name.lower().encode() for name in known}
    return b", ".join(protocol for protocol in _protocols(value) if _is_among(protocol, names))


def was_asked_for(answered: bytes, asked: bytes) -> bool:
    """Whether the Upgrade of a 101 names a protocol, and none that the request's did not name."""
    names = {protocol.lower() for protocol in _protocols(asked)}
    switched_to = _protocols(answered)
    return bool(switched_to) and all(_is_among(protocol, names) for protocol in switched_to)


def _is_among(protocol: bytes, names: set[bytes]) -> bool:
    """Whether `protocol` is one of those in lower case; one without a version stands for all its versions."""
    lower = protocol.lower()
    return lower in names or lower.partition(b"/")[0] in names


def _protocols(value: bytes) -> list[bytes]:
    """The members of the list, as they are spelled."""
    return [protocol for part in value.split(b",") if (protocol := part.strip(b" \t"))]
