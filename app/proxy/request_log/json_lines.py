"""Lines of JSON: our own, and those of the Elastic Common Schema.

A line is a template that is filled in with texts of JSON. The usual ones are made all at once, in less time than it
takes to ask which of them are needed; the others where a template has them. Nothing but `quoted` writes a text that
came from somebody else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted  # what `json.dumps` writes a text with
from time import gmtime, strftime
from typing import Final

from app.log_fields import ALWAYS
from app.protocol.field_values import field_in
from app.proxy.request_log.logged_request import LoggedRequest, wall_clock
from app.redaction import Redaction

__all__ = ["JsonLines", "Layout", "Part", "ms", "plain_layout", "quoted"]

Layout = Mapping[str, "str | Layout"]
"""The members of an object: the name of the text that each is filled in with, JSON as it is, or a further object."""

Part = Callable[[LoggedRequest], str]
"""A text of JSON about a request."""

_FRACTIONS: Final = tuple(repr(part / 1000)[1:] for part in range(1000))
"""What stands behind the whole of a number in thousandths, as `repr` writes it: ".0", ".001", …"""

_MILLISECONDS: Final = tuple(f'.{part:03d}+00:00"' for part in range(1000))


def ms(us: int) -> str:
    """Microseconds as milliseconds, to three places: what `repr(round(us / 1000, 3))` gives, in a fifth of the time."""
    return f"{us // 1000}{_FRACTIONS[us % 1000]}"


def _delay(name: str) -> Part:
    def text(done: LoggedRequest) -> str:
        delays = done.transaction.delays
        return ms(getattr(delays, name)) if delays is not None else "0.0"

    return text


def _first_byte(done: LoggedRequest) -> str:
    transaction = done.transaction
    first_us = transaction.first_byte_us
    return ms(first_us - transaction.request.started_us) if first_us else "null"


def _backend(done: LoggedRequest) -> str:
    target = done.transaction.target
    return quoted(str(target.address)) if target.backend >= 0 else "null"


def _retries(done: LoggedRequest) -> str:
    delays = done.transaction.delays
    return str(delays.retries) if delays is not None else "0"


def _host(done: LoggedRequest) -> str:
    return quoted(done.transaction.request.head.host.decode("latin-1"))


def _preview(done: LoggedRequest) -> str:
    return "true" if done.transaction.is_preview else "false"


def _limit(done: LoggedRequest) -> str:
    limited = done.transaction.limited
    return quoted(limited.name) if limited is not None and limited.name else "null"


def _login(done: LoggedRequest) -> str:
    login = done.transaction.login
    return quoted(login) if login else "null"


def _worker(_done: LoggedRequest) -> str:
    return str(os.getpid())


class JsonLines:
    """Writes the lines of one worker.

    Args:
        layout: what each line has, by the names of `app.log_fields` and of `more`.
        redaction: masks secrets.
        longest: characters of a text that somebody else has chosen; what is beyond is left out.
        more: texts that only this layout has.
    """

    def __init__(
        self, layout: Layout, redaction: Redaction, longest: int, more: Mapping[str, Part] | None = None
    ) -> None:
        self._template = _template(layout) + "\n"
        self._address = redaction.address
        self._longest = longest
        parts: dict[str, Part] = {
            "host": _host,
            "referer": self._referer,
            "first_byte_ms": _first_byte,
            "backend": _backend,
            "held_ms": _delay("held_us"),
            "queued_ms": _delay("queued_us"),
            "retries": _retries,
            "limit": _limit,
            "login": _login,
            "preview": _preview,
            "worker": _worker,
            **(more or {}),
        }
        names = _names(layout)
        more_names = [name for name in parts if name in names]
        self._more = [parts[name] for name in more_names]
        known = [*ALWAYS, *more_names]
        # Those that are asked for, by where they stand among all texts; None for the usual ones.
        self._places = None if names == list(ALWAYS) else [known.index(name) for name in names]
        self._second = 0
        self._date = ""

    def __call__(self, done: LoggedRequest) -> str:
        """One line."""
        transaction, status, cause, bytes_in, now_us = done
        request, target = transaction.request, transaction.target
        head = request.head
        second, thousandths = wall_clock()
        if second != self._second:
            self._second, self._date = second, strftime('"%Y-%m-%dT%H:%M:%S', gmtime(second))
        path, agent = head.target.decode("latin-1"), field_in(head.fields, b"user-agent").decode("latin-1")
        if "?" in path or ";" in path:
            path = self._address(path)
        longest = self._longest
        if len(path) > longest or len(agent) > longest:
            path, agent = path[:longest], agent[:longest]
        texts: tuple[object, ...] = (  # in the order of `ALWAYS`
            self._date + _MILLISECONDS[thousandths],
            quoted(transaction.request_id.decode("latin-1")),
            quoted(request.client_address),
            quoted(head.method.decode("latin-1")),
            quoted(path),
            '"HTTP/1.0"' if head.http10 else '"HTTP/1.1"',
            quoted(target.name),
            quoted(target.release) if target.release else "null",
            status,
            quoted(cause),
            bytes_in,
            transaction.bytes_out,
            ms(now_us - request.started_us),
            ms(transaction.head_us - transaction.sent_us) if transaction.head_us else "null",
            quoted(agent),
        )
        if self._places is None:
            return self._template % texts
        texts += tuple([part(done) for part in self._more])
        return self._template % tuple([texts[place] for place in self._places])

    def _referer(self, done: LoggedRequest) -> str:
        value = field_in(done.transaction.request.head.fields, b"referer").decode("latin-1")
        return quoted(self._address(value)[: self._longest])


def plain_layout(names: Sequence[str]) -> Layout:
    """Our own lines: these members, or the usual ones."""
    return {name: name for name in names or ALWAYS}


def _template(layout: Layout) -> str:
    """The object with a place for each text."""
    return "{" + ", ".join([f"{quoted(name)}: {_filling(inner)}" for name, inner in layout.items()]) + "}"


def _filling(inner: str | Layout) -> str:
    if not isinstance(inner, str):
        return _template(inner)
    return "%s" if inner.isidentifier() else inner


def _names(layout: Layout) -> list[str]:
    """The texts that a layout has places for, in their order."""
    found: list[str] = []
    for inner in layout.values():
        if not isinstance(inner, str):
            found += _names(inner)
        elif inner.isidentifier():
            found.append(inner)
    return found
