"""Who may do what: networks that are allowed something, and who may see the router's own endpoints."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable

from app.settings.tables.router_settings import RouterConfig
from app.signed import sign, verify

__all__ = ["COOKIE", "COOKIE_LIFETIME_S", "Access", "AllowList"]

COOKIE = "traffic_router_admin"

COOKIE_LIFETIME_S = 12 * 3600
"""A working day; the token itself has no end, so a forgotten browser should."""

_MOST_KNOWN = 1024

_PURPOSE = b"traffic-router admin cookie "


class AllowList:
    """Networks in CIDR notation, each valid, whose addresses are allowed something."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._known: dict[str, bool] = {}  # whoever is refused often is looked up once

    def __contains__(self, address: str) -> bool:
        """Whether it lies in one of them; IPv4 that came over IPv6 is what it stands for (RFC 4291 §2.5.5.2)."""
        found = self._known.get(address)
        if found is None:
            if len(self._known) == _MOST_KNOWN:
                self._known.clear()
            found = self._known[address] = self._covers(address)
        return found

    def _covers(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket has none
            return False
        plain = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(plain in network for network in self._networks)


class Access:
    """Who may see the router's own endpoints: the `admin_allow` networks, and whoever shows `admin_token`.

    Decides for one worker; all workers decide alike, and so do those of the next start.
    """

    def __init__(self, config: RouterConfig) -> None:
        self._near = AllowList(config.admin_allow)
        self._token = config.admin_token.encode()

    @property
    def has_token(self) -> bool:
        """Whether there is a token that one could show."""
        return bool(self._token)

    def is_near(self, address: str) -> bool:
        """Whether a client at this address may come in, whatever it shows."""
        return address in self._near

    def admits(self, address: str, authorization: str, cookie: str, now: float) -> bool:
        """Whether a client at this address, with these field values ("" for none), may come in.

        `now` is wall time in seconds.
        """
        return self.is_near(address) or self.is_shown(authorization, cookie, now)

    def is_shown(self, authorization: str, cookie: str, now: float) -> bool:
        """Whether these let a client in that comes from anywhere."""
        return self._is_bearer(authorization) or bool(verify(self._token, _PURPOSE, cookie, now))

    def is_token(self, text: str) -> bool:
        """Compares in a time that does not tell how much of the token was right."""
        return self.has_token and hmac.compare_digest(text.encode(), self._token)

    def cookie(self, now: float) -> str:
        """The value that admits a browser for `COOKIE_LIFETIME_S`. The token cannot be computed from it."""
        return sign(self._token, _PURPOSE, "admin", now + COOKIE_LIFETIME_S)

    def _is_bearer(self, authorization: str) -> bool:
        scheme, _, text = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(text.strip())
