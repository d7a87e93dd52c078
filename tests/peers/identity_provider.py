"""An OpenID provider made with Authlib, for the peers' Python: discovery, authorization code flow, JWT access tokens.

Who comes to its login page is ada at once. POST /rotate has it sign with a new key, beside which the old one stays.
"""

from __future__ import annotations

from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc.jwk import ECKey, KeySet, RSAKey

__all__ = ["app"]

CLIENT_ID, CLIENT_SECRET = "shop", "a secret of the shop and its provider"

app = Flask(__name__)
codes: dict[str, Code] = {}
keys: list[RSAKey | ECKey] = [RSAKey.generate_key(2048, auto_kid=True)]
"""The last one signs."""


def issuer() -> str:
    """Its address, as it was asked."""
    return request.host_url


def signing() -> KeySet:
    """Authlib names the key in a token's head when it is in a set."""
    return KeySet(keys[-1:])


def algorithm() -> str:
    """What the last key signs with."""
    return "RS256" if keys[-1].key_type == "RSA" else "ES256"


class User:
    """Whoever comes."""

    def get_user_id(self) -> str:
        return "ada"


class Shop(ClientMixin):
    """The one client; one with a secret, for which PKCE is in use all the same."""

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, uri: str) -> bool:
        return uri.startswith("http://127.0.0.1:")

    def check_client_secret(self, secret: str) -> bool:
        return secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


class Code(AuthorizationCodeMixin):
    """An authorization code."""

    auth_time: int | None = None

    def __init__(self, code: str, asked: Any) -> None:
        self.code = code
        self.redirect_uri, self.scope = asked.redirect_uri, asked.scope
        self.nonce: str | None = asked.data.get("nonce")
        self.code_challenge = asked.data.get("code_challenge")
        self.code_challenge_method = asked.data.get("code_challenge_method")

    def get_redirect_uri(self) -> str:
        return str(self.redirect_uri)

    def get_scope(self) -> str:
        return str(self.scope)

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    get_acr = get_amr = get_auth_time


class CodeGrant(AuthorizationCodeGrant):
    """Its codes are kept in memory, each good for once."""

    def save_authorization_code(self, code: str, request: Any) -> None:
        codes[code] = Code(code, request.payload)

    def query_authorization_code(self, code: str, client: Shop) -> Code | None:
        return codes.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        del codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Code) -> User:
        return User()


class IdToken(OpenIDCode):
    """The ID token."""

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return any(code.nonce == nonce for code in codes.values())

    def resolve_client_private_key(self, client: Shop) -> KeySet:
        return signing()

    def get_client_algorithm(self, client: Shop) -> str:
        return algorithm()

    def get_client_claims(self, client: Shop) -> dict[str, Any]:
        return {"iss": issuer()}

    def generate_user_info(self, user: User, scope: str) -> dict[str, str]:
        return {"sub": user.get_user_id(), "email": "ada@example.org"}


class AccessTokens(JWTBearerTokenGenerator):
    """RFC 9068: access tokens that are JWTs, for the shop's API."""

    def get_jwks(self) -> KeySet:
        return signing()

    def get_audiences(self, client: Shop, user: User, scope: str) -> list[str]:
        return ["shop-api", client.get_client_id()]


def generate_token(**asked: Any) -> Any:
    """An access token, with the key of this moment."""
    return AccessTokens(issuer(), algorithm())(**asked)


server = AuthorizationServer(app, lambda client_id: Shop() if client_id == CLIENT_ID else None, lambda *saved: None)
server.register_grant(CodeGrant, [IdToken(), CodeChallenge()])
server.register_token_generator("default", generate_token)


@app.get("/.well-known/openid-configuration")
def discovery() -> Any:
    here = issuer()
    return {
        "issuer": here,
        "authorization_endpoint": f"{here}authorize",
        "token_endpoint": f"{here}token",
        "jwks_uri": f"{here}jwks.json",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    }


@app.get("/jwks.json")
def jwks() -> Response:
    return jsonify(KeySet(keys).as_dict(private=False))


@app.post("/rotate")
def rotate() -> str:
    keys.append(ECKey.generate_key("P-256", auto_kid=True))
    return ""


@app.get("/authorize")
def authorize() -> Any:
    grant = server.get_consent_grant(end_user=User())
    return server.create_authorization_response(grant_user=User(), grant=grant)


@app.post("/token")
def token() -> Any:
    return server.create_token_response()
