"""The logins of one worker, made of the settings, and their keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import gevent

from app.logins.auth_server import AuthServer
from app.logins.gates import ForwardGate, TokenGate
from app.logins.jwks_fetch import MAX_JWKS_BYTES, fetch
from app.logins.key_file import KeyFile
from app.logins.login_figures import KeyState
from app.protocol.path_patterns import PathPatterns
from app.settings.tables.login_settings import LoginConfig

if TYPE_CHECKING:
    from app.logins.key_source import KeySource

__all__ = ["Login", "Logins"]

_LOOK_S = 5.0
"""How often it is looked whether keys are old."""


class Login(NamedTuple):
    """One entry `[[login]]`.

    Attributes:
        gate: what lets a request pass; None where the entry opens its paths.
    """

    config: LoginConfig
    paths: PathPatterns
    gate: TokenGate | ForwardGate | None


class Logins:
    """All of them, in the order of the file.

    Args:
        configs: the entries.
        folder: where keys are kept for a restart.

    Attributes:
        all: the logins.

    Without PyJWT there can be none with tokens; `load_settings` has said so.
    """

    def __init__(self, configs: Sequence[LoginConfig], folder: Path) -> None:
        self._folder = folder
        self._sources: dict[tuple[str, str], KeySource] = {}
        self.all = [Login(config, PathPatterns(config.path), self._gate(config)) for config in configs]

    def start(self) -> None:
        """Keeps the keys fresh from now on, beside the requests."""
        if self._sources:
            gevent.spawn(self._keep_fresh)

    def keys(self) -> list[KeyState]:
        """How it stands with the keys of each issuer."""
        return [source.state() for source in self._sources.values()]

    def _keep_fresh(self) -> None:
        while True:
            for source in self._sources.values():
                source.keep_fresh()
            gevent.sleep(_LOOK_S)

    def _gate(self, config: LoginConfig) -> TokenGate | ForwardGate | None:
        if config.opens:
            return None
        if config.forward_url:
            return ForwardGate(AuthServer(config.forward_url, config.forward_timeout), config.forward_copy)
        return self._token_gate(config)

    def _token_gate(self, config: LoginConfig) -> TokenGate:
        from app.logins.verifier import TokenRules, Verifier  # PyJWT is not installed where no token is looked at

        rules = TokenRules(
            config.jwt_issuer,
            config.jwt_audience,
            frozenset(config.jwt_algorithms),
            frozenset(config.jwt_scope),
            config.jwt_claims,
        )
        verifier = Verifier(rules, config.jwt_secret.encode())
        cookie = config.jwt_from.removeprefix("cookie:").encode() if config.jwt_from != "header" else b""
        return TokenGate(verifier, cookie, self._source(config) if config.jwt_jwks else None)

    def _source(self, config: LoginConfig) -> KeySource:
        """The keys of a login, which others may have in common with it."""
        from app.logins.key_source import ASK_AGAIN_S, KeySource

        place, ca = config.jwt_jwks, config.jwt_ca
        source = self._sources.get((place, ca))
        if source is None:
            if place.startswith("/"):
                source = KeySource(place, _read, fresh_s=ASK_AGAIN_S)
            else:
                source = KeySource(place, partial(fetch, ca=ca), KeyFile(self._folder, place))
            source.begin()
            self._sources[place, ca] = source
        return source


def _read(path: str) -> str:
    """The text of a file. Raises ValueError when it cannot be read, or is no text of a sensible length."""
    try:
        if os.path.getsize(path) > MAX_JWKS_BYTES:
            raise ValueError(f"it is longer than {MAX_JWKS_BYTES} bytes")
        return Path(path).read_text()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
