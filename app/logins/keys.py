"""The public keys of an issuer: read from a JWKS or from PEM, each checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.logins.algorithms import PUBLIC, RSA, algorithms_of

__all__ = ["MAX_KEYS", "Key", "KeySet", "keys_of"]

MAX_KEYS = 64
"""In one set; an issuer has one, and two while it changes it."""

_RSA_BITS = range(2048, 8193)
"""Shorter ones can be broken (RFC 7518 §3.3 asks for 2048 bits), longer ones take a while to verify with."""

_TRIED = 4
"""So many keys are tried with a token that names none."""

_READERS: Mapping[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}

_PEM = "-----BEGIN "


class Key(NamedTuple):
    """A public key.

    Attributes:
        key_id: its `kid`; "" for one without, which is then good for any.
        algorithms: what it may have signed with.
        public: an object of `cryptography`, which has a class for each kind.
    """

    key_id: str
    algorithms: frozenset[str]
    public: Any


class KeySet(NamedTuple):
    """The keys that can be used, and what is wrong with the others, in words."""

    keys: tuple[Key, ...]
    faults: tuple[str, ...] = ()

    def candidates(self, key_id: str, algorithm: str) -> tuple[Key, ...]:
        """The keys that a token may be signed with, by what it says: those of its kid, and those that have none."""
        found = (key for key in self.keys if algorithm in key.algorithms and (not key_id or key.key_id in ("", key_id)))
        return tuple(found)[:_TRIED]


def keys_of(text: str) -> KeySet:
    """The keys in a JWKS (RFC 7517 §5), or in PEM. Raises ValueError that says why there is none."""
    stripped = text.lstrip()
    if stripped.startswith(_PEM):
        found = _checked(_pem_keys(stripped), _pem_key)
    elif stripped.startswith("<"):
        raise ValueError("it is a page of HTML, no JWKS")
    else:
        found = _checked(_jwks_keys(stripped), _jwk_key)
    if not found.keys:
        raise ValueError("; ".join(found.faults) or "there is no key in it")
    return found


def _jwks_keys(text: str) -> Iterable[tuple[str, Any]]:
    """Name and JWK of each key."""
    try:
        listed = json.loads(text)["keys"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ValueError("it is no JWKS: JSON with `keys`") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"its `keys` are no list of at most {MAX_KEYS}")
    return ((f"key {number}", jwk) for number, jwk in enumerate(listed, 1))


def _pem_keys(text: str) -> Iterable[tuple[str, Any]]:
    """Name and PEM of each key."""
    blocks = [_PEM + block for block in text.split(_PEM)[1:]]
    return ((f"key {number}", block) for number, block in enumerate(blocks[:MAX_KEYS], 1))


def _checked(found: Iterable[tuple[str, Any]], read: Callable[[Any], Key | None]) -> KeySet:
    keys, faults = [], []
    for name, raw in found:
        try:
            key = read(raw)
        except ValueError as error:
            faults.append(f"{name} is not used: {error}")
        else:
            if key is not None:
                keys.append(key)
    return KeySet(tuple(keys), tuple(faults))


def _jwk_key(jwk: Any) -> Key | None:
    """A key of a JWKS; None for one that is not for signatures. Raises ValueError."""
    if not isinstance(jwk, dict):
        raise ValueError("it is no JSON object")
    kind, key_id = jwk.get("kty"), jwk.get("kid", "")
    if jwk.get("use", "sig") != "sig":
        return None
    if kind == "oct" or "d" in jwk:
        raise ValueError("it is a secret, or a private key, which nobody may be shown")
    if not isinstance(kind, str) or kind not in _READERS or not isinstance(key_id, str):
        raise ValueError(f"its kind is not known: kty {kind}")
    try:
        public = _READERS[kind].from_jwk(jwk)
    except (PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    return _key(public, key_id, jwk.get("alg"))


def _pem_key(pem: str) -> Key:
    """A key in PEM. Raises ValueError."""
    if "PRIVATE KEY" in pem:
        raise ValueError("it is a private key; the public one is wanted")
    try:
        public = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("it is no public key in PEM") from error
    return _key(public)


def _key(public: Any, key_id: str = "", algorithm: object = None) -> Key:
    """A key for what it is good for, or for one `algorithm` of these. Raises ValueError when that is none."""
    algorithms = frozenset[str]()
    if isinstance(public, RSAPublicKey):
        if public.key_size not in _RSA_BITS:
            raise ValueError(f"it has {public.key_size} bits; from {_RSA_BITS[0]} to {_RSA_BITS[-1]} are wanted")
        algorithms = RSA
    elif isinstance(public, EllipticCurvePublicKey):
        algorithms = algorithms_of(public.curve.name)
    elif isinstance(public, Ed25519PublicKey):
        algorithms = algorithms_of("ed25519")
    if algorithm is not None:
        algorithms &= {str(algorithm)}
    if not algorithms:
        raise ValueError(f"it is not of a kind that signs tokens with one of {', '.join(PUBLIC)}")
    return Key(key_id, algorithms, public)
