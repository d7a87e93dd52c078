"""The token of a request: where it is, whether it has a token's form, and what it says of the key that it needs.

Nothing here believes a token. What it says is looked at only to choose the key, among those that are configured.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from typing import Any, NamedTuple

from app.logins.refusals import Refused
from app.protocol.request import RequestHead

__all__ = ["MAX_TOKEN_BYTES", "TokenHead", "bearer_token", "cookie_token", "read_head"]

MAX_TOKEN_BYTES = 16_384
"""Of a whole token. The largest that are met, with hundreds of groups in them, have some 10 KiB."""

_MAX_KEY_ID = 256

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""RFC 7515 §3.1. An empty signature is none, and padding has no place in it."""

_SCHEME = b"bearer "


class TokenHead(NamedTuple):
    """What a token says of its signature; `key_id` is "" where it names no key."""

    algorithm: str
    key_id: str


def bearer_token(head: RequestHead) -> bytes:
    """The token in Authorization (RFC 6750 §2.1). Raises Refused when there is none, or more than one field."""
    found = [value for name, value in head.fields if name.lower() == b"authorization"]
    if len(found) > 1:
        raise Refused("ambiguous", "there is more than one Authorization field")
    if not found or found[0][: len(_SCHEME)].lower() != _SCHEME:
        raise Refused("no_token", "there is no bearer token")
    return found[0][len(_SCHEME) :].strip(b" \t")


def cookie_token(head: RequestHead, cookie: bytes) -> bytes:
    """The token in a cookie. Raises Refused when there is none, or more than one of that name."""
    found = [
        value.strip(b" \t")
        for name, field in head.fields
        if name.lower() == b"cookie"
        for own_name, _, value in (pair.partition(b"=") for pair in field.split(b";"))
        if own_name.strip(b" \t") == cookie
    ]
    if len(found) > 1:
        raise Refused("ambiguous", "there is more than one cookie of that name")
    if not found or not found[0]:
        raise Refused("no_token", "there is no such cookie")
    return found[0]


def read_head(token: bytes, algorithms: frozenset[str]) -> TokenHead:
    """What a token says of its signature. Raises Refused unless its form is right and its algorithm one of these."""
    if len(token) > MAX_TOKEN_BYTES:
        raise Refused("malformed", f"the token has {len(token)} bytes, more than {MAX_TOKEN_BYTES}")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise Refused("malformed", "the token has not three parts in base64url")
    said = _json_object(parts[1])
    algorithm, key_id = said.get("alg"), said.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Refused("algorithm", f"the token's alg is {str(algorithm)[:20]!r}")
    if "crit" in said:  # RFC 7515 §4.1.11: we know no extension
        raise Refused("critical", "the token has critical extensions (crit)")
    if not isinstance(key_id, str) or len(key_id) > _MAX_KEY_ID:
        raise Refused("malformed", "the token's kid is no short text")
    return TokenHead(algorithm, key_id)


def _json_object(part: bytes) -> dict[str, Any]:  # of JSON, which has no types
    try:
        said = json.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise Refused("malformed", "the token's head is no JSON") from None
    if not isinstance(said, dict):
        raise Refused("malformed", "the token's head is no JSON object")
    return said
