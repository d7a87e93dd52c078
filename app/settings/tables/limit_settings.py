"""How often a client may ask, and how much at once: the tables `[[limit]]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.limits.rate import MOST_BURST, MOST_LIMITS, Rate
from app.settings import checks
from app.settings.declaration import AllTables, TableArray
from app.settings.engine import Rule, enforce, setting

__all__ = ["LimitConfig"]

_KEYS = "one or a list of client, path, header:NAME, cookie:NAME and jwt:CLAIM"


def _comes_back(rate: str, burst: int) -> bool:
    try:
        return not rate or bool(Rate.parse(rate, burst))
    except ValueError:
        return False


_RULES = (
    Rule(("name",), bool, "a limit needs a name, by which logs and figures call it"),
    Rule(("rate", "in_flight"), lambda rate, in_flight: bool(rate) != bool(in_flight), "expected one of the two"),
    Rule(("burst", "in_flight"), lambda burst, in_flight: not burst or not in_flight, "a burst is one of a rate"),
    Rule(("delay", "in_flight"), lambda delay, in_flight: not delay or not in_flight, "a delay is one of a rate"),
    Rule(("rate", "burst"), _comes_back, "a burst would take longer than a year to come back"),
)


@dataclass(frozen=True)
class LimitConfig:
    """One limit; raises `ConfigError` with every fault when made."""

    name: str = setting(
        "",
        "What logs, figures and the page call it.",
        rule="up to 40 letters, digits, - and _, of which no other limit has the same",
        check=checks.is_label,
    )
    path: tuple[str, ...] = setting(
        (),
        "The requests that it is about, by their path: exact, or all that begin so with `*` at the end. Whatever an"
        " application could read as such a path is one: `/a/..;/login` and `/%6Cogin` count as `/login`.",
        zero="every path",
        rule="a list of paths that begin with /",
        check=checks.is_path,
    )
    methods: tuple[str, ...] = setting(
        (),
        "The requests that it is about, by their method.",
        zero="every method",
        rule='a list of methods such as "POST"',
        check=checks.is_method,
    )
    key: tuple[str, ...] = setting(
        ("client",),
        "Whose requests are counted together: those of one client address (behind `forwarded_hops`; IPv6 by /64), one"
        " value of a field or cookie, one claim of a login, one path; with a list, those that have all of it in common."
        " A request that has not got the field, cookie or claim counts as its client.",
        rule=_KEYS,
        check=checks.is_limit_key,
    )
    rate: str = setting(
        "",
        "Let so many requests of a key through per second (s), minute (m) or hour (h), counted over all workers.",
        zero="as many as come",
        rule="a rate such as 10/s, 100/m or 1000/h, up to 1000000",
        check=checks.is_rate,
    )
    burst: int = setting(0, "Let so many of them come at once.", low=0, high=MOST_BURST, zero="the number of the rate")
    in_flight: int = setting(
        0,
        "Let a key have at most so many requests at a time, counted over all workers, instead of a `rate`.",
        low=0,
        high=10_000,
        zero="as many as come",
    )
    delay: float = setting(
        0.0,
        "Let a request wait up to this long, in order, where it would soon be let through.",
        unit="seconds",
        low=0,
        high=300,
        zero="refuse it at once",
    )
    dry_run: bool = setting(False, "Count and log what would be refused, and refuse nothing.")

    def __post_init__(self) -> None:
        enforce(self, _RULES)

    @property
    def needs_login(self) -> bool:
        """Whether its key is only known when somebody has said who is logged in."""
        return any(part.startswith("jwt:") for part in self.key)


def _settle(found: AllTables) -> list[str]:
    count = len(found.entries[TABLE.name])
    return [f"{TABLE.header}: there are {count} of them, expected {MOST_LIMITS} at most"] if count > MOST_LIMITS else []


TABLE: Final = TableArray(
    name="limit",
    settings=LimitConfig,
    title="Limits",
    about="each is one limit, and a request must pass all that are about it:"
    " [how to limit logins](../how-to/limit-logins.md).",
    rules=_RULES,
    settle=_settle,
)
