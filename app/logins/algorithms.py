"""The algorithms of signatures that a login may allow, and the keys that go with each.

`none` is not among them, nor anything that PyJWT would take beyond these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["PUBLIC", "RSA", "SECRET", "algorithms_of"]

SECRET: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Those with a shared secret, and its least length in bytes (RFC 7518 §3.2)."""

RSA: Final = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
"""Those that an RSA key is good for; any other key is good for one only."""

_CURVES: Final[Mapping[str, str]] = {
    "secp256r1": "ES256",
    "secp384r1": "ES384",
    "secp521r1": "ES512",
    "ed25519": "EdDSA",
}

PUBLIC: Final = (*sorted(RSA), *_CURVES.values())
"""Those with a public key, which may lie open."""


def algorithms_of(curve: str) -> frozenset[str]:
    """What a public key on a curve is good for; nothing where the curve is another one."""
    return frozenset((_CURVES[curve],)) if curve in _CURVES else frozenset()
