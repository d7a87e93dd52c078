"""Names of backends and the addresses that they have, looked up anew all the while."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

__all__ = ["Names", "addresses_of", "look_up"]


def look_up(name: str) -> tuple[str, ...]:
    """The IP addresses of a name, in a fixed order. Raises OSError when there are none."""
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    return tuple(sorted(address for address in found if "%" not in address))


def addresses_of(name: str) -> tuple[str, ...]:
    """Likewise; none when there are none."""
    try:
        return look_up(name)
    except OSError:
        return ()


class Names:
    """The addresses that the names of one worker had when they were last looked up.

    One that cannot be looked up keeps those that it had.

    Args:
        on_new: called when a name is asked for that was not before; it has no addresses yet.
        look_up: finds the addresses of a name; raises OSError.
    """

    def __init__(self, on_new: Callable[[], object], look_up: Callable[[str], Iterable[str]] = look_up) -> None:
        self._on_new = on_new
        self._look_up = look_up
        self._found: dict[str, tuple[str, ...]] = {}
        self._failing: set[str] = set()

    def __call__(self, name: str) -> tuple[str, ...]:
        """The addresses of a name; none where it has none, or was not looked up yet."""
        if name not in self._found:
            self._found[name] = ()
            self._on_new()
        return self._found[name]

    def look(self) -> bool:
        """Looks up all names; returns whether any has changed. It may take as long as the system's resolver waits."""
        changed = [name for name in list(self._found) if self._has_changed(name)]
        return bool(changed)

    def _has_changed(self, name: str) -> bool:
        from logging import getLogger  # a command looks a name up and does without it

        logger = getLogger(__name__)
        try:
            found = tuple(self._look_up(name))
        except OSError as error:
            if name not in self._failing:
                logger.warning("%s: its addresses cannot be looked up: %s", name, error.strerror or error)
            self._failing.add(name)
            return False
        self._failing.discard(name)
        before, self._found[name] = self._found[name], found
        if before and before != found:
            logger.info("%s has other addresses: %s, before %s", name, ", ".join(found), ", ".join(before))
        return before != found
