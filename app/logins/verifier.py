"""Tokens verified by PyJWT, with a key that the token's head names among those of its issuer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jwt

from app.logins.claims import check_scope
from app.logins.identity import field_lines
from app.logins.refusals import Refused
from app.logins.remembered import GoodToken, Remembered, TokenClaims
from app.logins.tokens import TokenHead, read_head

__all__ = ["LEEWAY_S", "TokenRules", "Verifier"]

LEEWAY_S = 30
"""How far the issuer's clock and ours may be apart."""

_OPTIONS: Any = {"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True}

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidAlgorithmError, "algorithm"),
    (jwt.InvalidKeyError, "signature"),
    (jwt.DecodeError, "malformed"),
    (jwt.PyJWTError, "claims"),
)
"""The reason for each error of PyJWT; the first class that an error is of decides."""


class TokenRules(NamedTuple):
    """What a good token says.

    Attributes:
        algorithms: one of which it is signed with.
        scopes: all of which it has.
        told: the claims that the application is told.
    """

    issuer: str
    audience: str
    algorithms: frozenset[str]
    scopes: frozenset[str] = frozenset()
    told: tuple[str, ...] = ()


class Verifier:
    """Verifies the tokens of one login.

    Args:
        rules: what a token must say.
        secret: the shared secret of HMAC signatures; b"" where there are public keys.
    """

    def __init__(self, rules: TokenRules, secret: bytes = b"") -> None:
        self._rules = rules
        self._secret = secret
        self._remembered = Remembered()

    def known(self, digest: bytes, now: float) -> GoodToken | None:
        """A token, by its SHA-256, that was found good a moment ago; None for any other."""
        return self._remembered.find(digest, now)

    def read(self, token: bytes) -> TokenHead:
        """What a token says of the key that it needs. Raises Refused."""
        return read_head(token, self._rules.algorithms)

    def verify(self, token: bytes, digest: bytes, said: TokenHead, keys: tuple[Any, ...], now: float) -> GoodToken:
        """A token that one of the keys has signed, and that says what it must; known from now on. Raises Refused."""
        for key in keys or filter(None, (self._secret,)):
            try:
                claims = self._decoded(token, said.algorithm, key)
            except jwt.InvalidSignatureError:
                continue
            good = GoodToken(claims, field_lines(claims, self._rules.told))
            self._remembered.keep(digest, good, now, float(claims["exp"]))
            return good
        if keys or self._secret:
            raise Refused("signature", f"no key for {said.algorithm} has signed the token")
        raise Refused("unknown_key", f"there is no key {said.key_id[:40]!r} for {said.algorithm}")

    def forget(self) -> None:
        """Has all tokens verified anew: the keys have changed."""
        self._remembered.forget()

    def _decoded(self, token: bytes, algorithm: str, key: Any) -> TokenClaims:
        """What it says. Raises Refused, and InvalidSignatureError where another key may have signed it."""
        rules = self._rules
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],  # which was found to be one of those that are allowed, and that the key is for
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=LEEWAY_S,
                options=_OPTIONS,
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.PyJWTError as error:
            raise Refused(next(reason for kind, reason in _REASONS if isinstance(error, kind)), str(error)) from None
        except (ValueError, OverflowError, RecursionError, TypeError) as error:  # of claims that JSON can say
            raise Refused("malformed", f"{type(error).__name__}") from None
        check_scope(claims, rules.scopes)
        return claims
