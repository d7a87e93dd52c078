"""Two versions in traffic: the share of the requests that the standby has for a while, and how they are shared out."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Final

__all__ = ["COOKIES_LAST_S", "MOST_SALT_BYTES", "ORDERS", "WHOLE", "Split", "is_sticky"]

WHOLE: Final = 10_000
"""All requests, in hundredths of a per cent."""

MOST_SALT_BYTES: Final = 64
"""The longest key that BLAKE2b takes."""

COOKIES_LAST_S: Final = 86_400
"""For so long a browser keeps the cookie of a split, and the router takes it off requests after the split has ended."""

ORDERS: Final = ("", "hold", "promote")
"""What whoever conducts a rollout can be told; to end it, its split is taken away."""

_HEADER: Final = "header:"
_STICKY = re.compile(r"off|cookie|client|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_sticky(text: str) -> bool:
    """Whether a text is one of the ways of sharing out; the name of a field is a token of RFC 9110 §5.6.2."""
    return _STICKY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Split:
    """The version named `canary`, which is the standby, has `weight` hundredths of a per cent of the requests.

    After `until` (wall time in seconds) it has none: whoever conducts a rollout puts that off again and again, so that
    one who dies leaves nobody on an unproven release. With `sticky` "off" each request is drawn by itself. Otherwise
    a client stays where it is while the weight only rises: "cookie", "client" (its address) or "header:NAME" says who
    is one client, and `salt` who of them are the first, others in each rollout. `slow_ms` are the median and the 95th
    percentile of times before it began, beyond which a request counts as slow. `order` is for who conducts it: hold,
    promote, or nothing.
    """

    canary: str
    weight: int
    until: float
    salt: str = ""
    sticky: str = "off"
    slow_ms: tuple[float, float] | None = None
    order: str = ""

    def weight_at(self, now: float) -> int:
        """The weight that counts at `now`, wall time."""
        return self.weight if now < self.until else 0

    @property
    def field(self) -> str:
        """The name of the field by which clients are told apart, in lower case; "" where it is not by one."""
        return self.sticky.removeprefix(_HEADER).lower() if self.sticky.startswith(_HEADER) else ""

    def as_json(self) -> dict[str, object]:
        """As it stands in the file."""
        return asdict(self)
