"""The header fields that a line has where they were asked for, as an object of JSON."""

from __future__ import annotations

from collections.abc import Sequence

from app.proxy.request_log.json_lines import quoted
from app.proxy.request_log.logged_request import LoggedRequest
from app.redaction import Redaction

__all__ = ["HeaderFields"]


class HeaderFields:
    """Picks fields by name, in the spelling that was asked for; a line has those that came.

    Args:
        names: which.
        redaction: masks secrets.
        longest: characters of a value; what is beyond is left out.
        of_response: those of the application's answer rather than of the request.
    """

    def __init__(self, names: Sequence[str], redaction: Redaction, longest: int, of_response: bool) -> None:
        self._names = {name.lower().encode(): name for name in names}
        self._redaction = redaction
        self._longest = longest
        self._of_response = of_response

    def __call__(self, done: LoggedRequest) -> str:
        """One object; the values of a field that came several times are put together (RFC 9110 §5.3)."""
        transaction = done.transaction
        if not self._of_response:
            fields = transaction.request.head.fields
        elif transaction.response is not None:
            fields = transaction.response.fields
        else:
            fields = []
        found: dict[str, list[str]] = {}
        for known, value in fields:
            name = self._names.get(known.lower())
            if name is not None:
                found.setdefault(name, []).append(self._redaction.field(name, value.decode("latin-1")))
        members = (f"{quoted(name)}: {quoted(', '.join(values)[: self._longest])}" for name, values in found.items())
        return "{" + ", ".join(members) + "}"
