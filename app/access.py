"""Who may see the router's own endpoints: the `admin_allow` networks, and whoever shows `admin_token`."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

from app.settings.tables.router_settings import RouterConfig

__all__ = ["COOKIE", "COOKIE_LIFETIME_S", "Access"]

COOKIE = "traffic_router_admin"

COOKIE_LIFETIME_S = 12 * 3600
"""A working day; the token itself has no end, so a forgotten browser should."""

_PURPOSE = b"traffic-router admin cookie until "


class Access:
    """Decides for one worker; all workers decide alike, and so do those of the next start."""

    def __init__(self, config: RouterConfig) -> None:
        self._networks = [ipaddress.ip_network(network) for network in config.admin_allow]
        self._token = config.admin_token.encode()

    @property
    def has_token(self) -> bool:
        """Whether there is a token that one could show."""
        return bool(self._token)

    def admits(self, address: str, authorization: str, cookie: str, now: float) -> bool:
        """Whether a client at this address, with these field values ("" for none), may come in.

        `now` is wall time in seconds.
        """
        return self._is_near(address) or self._is_bearer(authorization) or self._is_signed_in(cookie, now)

    def is_token(self, text: str) -> bool:
        """Compares in a time that does not tell how much of the token was right."""
        return self.has_token and hmac.compare_digest(text.encode(), self._token)

    def cookie(self, now: float) -> str:
        """The value that admits a browser for `COOKIE_LIFETIME_S`. The token cannot be computed from it."""
        until = str(int(now) + COOKIE_LIFETIME_S)
        return f"{until}.{self._seal(until)}"

    def _is_near(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(mapped in network for network in self._networks)

    def _is_bearer(self, authorization: str) -> bool:
        scheme, _, text = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(text.strip())

    def _is_signed_in(self, cookie: str, now: float) -> bool:
        until, _, seal = cookie.partition(".")
        if not self.has_token or not hmac.compare_digest(seal.encode(), self._seal(until).encode()):
            return False
        return now < int(until)  # sealed by us, so it is a number

    def _seal(self, until: str) -> str:
        return hmac.new(self._token, _PURPOSE + until.encode(), hashlib.sha256).hexdigest()
