"""What no log shows: the values of header fields, and of parameters in addresses, that are named like secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

__all__ = ["MASK", "Redaction"]

MASK: Final = "***"

_SECRET_FIELDS: Final = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))

_PARTS: Final = (
    r"token|secret|passw|passphrase|pwd|signature|credential|api[-_]?key|access[-_]?key|authori[sz]ation"
    r"|session|jwt|assertion|cookie"
)
"""Whatever has one of these in its name is a secret."""

_WORDS: Final = "key|code|sig|sid|otp|pin|pass|auth|hmac|ticket|verifier"
"""The same as a word of its own in a parameter's name; `keyword` and `zipcode` are none."""

_IN_FIELD: Final = re.compile(_PARTS)
_IN_PARAMETER: Final = re.compile(rf"{_PARTS}|(?<![a-z0-9])(?:{_WORDS})(?![a-z0-9])")
_HUMP: Final = re.compile("(?<=[a-z0-9])(?=[A-Z])")
_USER: Final = re.compile(r"^([a-z][a-z0-9+.-]*:)?//[^/@]*@", re.IGNORECASE)

_MEMBER: Final = re.compile(r'("((?:[^"\\]|\\.)*)"\s*:\s*)("(?:[^"\\]|\\.)*(?:"|\\?$)|[^\s"{\[,}\]]+)', re.DOTALL)
"""A member of JSON whose value is no object and no list; a text may have no end, where it was cut."""

_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 64


class Redaction:
    """Masks secrets; one that comes in any other way, as a path's part or under a name of its own, it cannot know.

    Args:
        more: further names, of header fields and of parameters, in any case.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._more = frozenset(name.lower() for name in more)
        self._known: dict[str, bool] = {}

    def field(self, name: str, value: str) -> str:
        """The value of a header field; an address in it keeps all but the secrets in its query."""
        lowered = name.lower()
        if lowered in _SECRET_FIELDS or lowered in self._more or _IN_FIELD.search(lowered):
            return MASK
        return self.address(value)

    def address(self, text: str) -> str:
        """An address, or a request's target, with the values masked that only its user is to know."""
        path, mark, query = text.partition("?")
        if "@" in path:
            path = _USER.sub(rf"\1//{MASK}@", path)
        if ";" in path:  # parameters of a segment (RFC 3986 §3.3), such as Java's session ids
            path = "/".join(map(self._masked, path.split("/")))
        return path + mark + self.query(query) if query else path + mark

    def query(self, query: str) -> str:
        """A query alone."""
        parts = query.split("&")
        if ";" not in query and "%3" not in query:
            known = self._known
            for part in parts:
                if known.get(part.partition("=")[0], True):
                    break
            else:
                return query  # all of them have come before, and are no secrets
        return "&".join(map(self._masked, parts))

    def body(self, media_type: str, text: str) -> str:
        """A message's body, or the beginning of one: forms and JSON keep all but the secrets in them."""
        kind = media_type.partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            return self.query(text)
        return _MEMBER.sub(self._masked_member, text) if kind.endswith("json") else text

    def _masked_member(self, member: re.Match[str]) -> str:
        return f'{member[1]}"{MASK}"' if self._hides(member[2]) else member[0]

    def _masked(self, part: str) -> str:
        """A parameter, or several with `;` between them. What comes behind a secret may be a part of it."""
        begins = 0
        for one in part.split(";"):
            name, _, value = one.partition("=")
            if value and (self._hides(name) or self._is_address_with_secret(value)):
                return part[: begins + len(name) + 1] + MASK
            begins += len(one) + 1
        return part

    def _is_address_with_secret(self, value: str) -> bool:
        """Whether a value is itself an address, as of where to go on, with a secret in it."""
        if "%3d" not in value and "%3D" not in value:
            return False
        inner = unquote(value)
        return self.address(inner) != inner

    def _hides(self, name: str) -> bool:
        """Whether a parameter's value is masked; names come again, so most are looked at once."""
        found = self._known.get(name)
        if found is None:
            found = self._is_secret(unquote(name))
            if len(name) <= _LONGEST_REMEMBERED:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[name] = found
        return found

    def _is_secret(self, name: str) -> bool:
        words = _HUMP.sub("_", name).lower()
        return name.lower() in self._more or _IN_PARAMETER.search(words) is not None
