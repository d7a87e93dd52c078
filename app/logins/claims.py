"""What a verified token allows."""

from __future__ import annotations

from app.logins.refusals import Refused
from app.logins.remembered import TokenClaims

__all__ = ["check_scope", "scopes_of"]

_SCOPE_CLAIMS = ("scope", "scp")
"""RFC 8693 §4.2 has a text with spaces; some issuers write a list, or call it `scp`."""


def scopes_of(claims: TokenClaims) -> frozenset[str]:
    """The scopes that a token was given."""
    found: set[str] = set()
    for name in _SCOPE_CLAIMS:
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(member for member in value if isinstance(member, str))
    return frozenset(found)


def check_scope(claims: TokenClaims, wanted: frozenset[str]) -> None:
    """Raises Refused unless the token has all of the wanted scopes."""
    missing = wanted - scopes_of(claims) if wanted else wanted
    if missing:
        raise Refused("scope", f"the token has not the scope {' '.join(sorted(missing))}")
