"""Lines as web servers write them: the Common Log Format, and the combined one of Apache."""

from __future__ import annotations

import re
from time import gmtime
from typing import Final

from app.protocol.field_values import field_in
from app.proxy.request_log.logged_request import LoggedRequest, wall_clock
from app.redaction import Redaction

__all__ = ["TextLines"]

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_TO_ESCAPE: Final = re.compile(r"[^ !#-\[\]-~]")
"""What would end the text in its quotes, or the line, or is not ASCII."""


class TextLines:
    """Writes the lines of one worker, in UTC.

    Args:
        redaction: masks secrets.
        is_combined: with the `Referer` and the `User-Agent` at the end.
        longest: characters of a text that somebody else has chosen; what is beyond is left out.
    """

    def __init__(self, redaction: Redaction, is_combined: bool, longest: int) -> None:
        self._address = redaction.address
        self._is_combined = is_combined
        self._longest = longest
        self._second = 0
        self._date = ""

    def __call__(self, done: LoggedRequest) -> str:
        """One line: client, time, request line, status, bytes; nobody is known by a name of the server's own."""
        transaction = done.transaction
        request = transaction.request
        head = request.head
        second, _ = wall_clock()
        if second != self._second:
            self._second, self._date = second, _date(second)
        target = self._text(self._address(head.target.decode("latin-1")))
        version = "1.0" if head.http10 else "1.1"
        line = f'"{self._text(head.method.decode("latin-1"))} {target} HTTP/{version}"'
        size = transaction.bytes_out or "-"
        common = f"{request.client_address} - - [{self._date}] {line} {done.status} {size}"
        if not self._is_combined:
            return common + "\n"
        referer = self._text(self._address(field_in(head.fields, b"referer").decode("latin-1"))) or "-"
        agent = self._text(field_in(head.fields, b"user-agent").decode("latin-1")) or "-"
        return f'{common} "{referer}" "{agent}"\n'

    def _text(self, text: str) -> str:
        return _TO_ESCAPE.sub(_escaped, text[: self._longest])


def _escaped(found: re.Match[str]) -> str:
    """As Apache does it: a backslash before what else would end the text, hexadecimal digits for all else."""
    one = found[0]
    return "\\" + one if one in '"\\' else f"\\x{ord(one):02x}"


def _date(second: int) -> str:
    at = gmtime(second)
    return f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
