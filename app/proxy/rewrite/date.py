"""The Date of what is sent just now (RFC 9110 §6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from time import time

__all__ = ["date_line"]


def date_line() -> bytes:
    """The field line with its CRLF; it is written once a second, not once an answer."""
    return _line_of(int(time()))


@lru_cache(maxsize=1)
def _line_of(second: int) -> bytes:
    return b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
