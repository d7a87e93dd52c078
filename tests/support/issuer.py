"""An issuer of tokens, as an OpenID provider is one: keys that it changes, and an address where the public ones are."""

from __future__ import annotations

import json
import time
from functools import cache
from types import TracebackType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.raw_upstream import RawUpstream, reply

__all__ = ["AUDIENCE", "ISSUER", "Issuer", "bearer", "private_key", "public_jwk"]

ISSUER = "https://id.example.com/"
AUDIENCE = "shop"


@cache
def private_key(kind: str) -> Any:
    """A key of a kind such as "RSA-2048", "P-256", "Ed25519"; a name behind a colon makes it another one."""
    kind = kind.partition(":")[0]
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind.partition("-")[2]))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "K-256": ec.SECP256K1()}
    return ec.generate_private_key(curves[kind])


def public_jwk(kind: str, **fields: str) -> dict[str, Any]:
    """The public part of such a key as a JWK."""
    public = private_key(kind).public_key()
    algorithm: Any = RSAAlgorithm if kind.startswith("RSA") else OKPAlgorithm if kind == "Ed25519" else ECAlgorithm
    return {**algorithm.to_jwk(public, as_dict=True), "use": "sig", **fields}


def bearer(token: str) -> bytes:
    """The field that shows a token."""
    return f"Authorization: Bearer {token}\r\n".encode()


class Issuer:
    """Signs with one key and publishes it over HTTP.

    Attributes:
        server: answers with the keys, until a test has it do something else.
        key_id, kind: of the key that tokens are signed with.
        published: the JWKS, as it is sent.
    """

    def __init__(self) -> None:
        self.server = RawUpstream()
        self.key_id, self.kind = "first", "RSA-2048"
        self.publish()

    def __enter__(self) -> Issuer:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.__exit__(kind, error, trace)

    @property
    def address(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.server.port}/jwks.json"

    @property
    def fetches(self) -> int:
        """How often somebody has asked for them."""
        return len(self.server.exchanges)

    def publish(self, *more: dict[str, Any]) -> None:
        """Publishes the key, and others."""
        keys = {"keys": [public_jwk(self.kind, kid=self.key_id, alg=self.algorithm), *more]}
        self.published = json.dumps(keys).encode()
        self.server.answers(reply(self.published, fields=[(b"Content-Type", b"application/json")]))

    def rotate(self, key_id: str, kind: str = "P-256") -> None:
        """Signs with another key from now on, and publishes that one alone."""
        self.key_id, self.kind = key_id, kind
        self.publish()

    @property
    def algorithm(self) -> str:
        """What is signed with."""
        return "RS256" if self.kind.startswith("RSA") else "EdDSA" if self.kind == "Ed25519" else "ES256"

    def token(self, headers: dict[str, Any] | None = None, without: str = "", **claims: Any) -> str:
        """A token that is good for five minutes, but for these claims and headers."""
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, **claims}
        said.pop(without, None)
        return jwt.encode(said, private_key(self.kind), self.algorithm, {"kid": self.key_id, **(headers or {})})
