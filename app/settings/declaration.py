"""What a module of `app.settings.tables` says of its table of `traffic_router.toml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from app.settings.engine import Rule

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["AllTables", "Table", "TableArray", "entry_name"]


class AllTables(NamedTuple):
    """What the layers come to in all tables, by the tables' names: values by setting, and where each came from.

    The router's own settings, at the top level of the file, are the table "".
    """

    values: Mapping[str, dict[str, Any]]  # each has the type of its field, which a mapping's type cannot say
    sources: Mapping[str, Mapping[str, str]]
    entries: Mapping[str, Sequence[Mapping[str, Any]]]  # of the arrays of tables, in the order of the file


def _as_it_is(given: Mapping[str, object]) -> Mapping[str, object]:
    return given


def _no_fault(_found: AllTables) -> list[str]:
    return []


class Table(NamedTuple):
    """One table: its name in the file, and the class of its settings.

    Args:
        name: such as "deploy" for `[deploy]`.
        settings: a settings class of `app.settings.engine`.
        title, about: the heading of its part of the reference, and what stands below it; Markdown.
        rules: what must fit together within the table.
        prepare: makes of what the file has what the engine reads.
        settle: works out what this table and others come to together; gives what is wrong with that.
    """

    name: str
    settings: type[DataclassInstance]
    title: str
    about: str
    rules: tuple[Rule, ...] = ()
    prepare: Callable[[Mapping[str, object]], Mapping[str, object]] = _as_it_is
    settle: Callable[[AllTables], list[str]] = _no_fault

    def full_name(self, setting: str, entry: str = "") -> str:
        """A setting's name among those of all tables: `read_timeout`, `app.dir`, `limit.login.rate`."""
        return ".".join(filter(None, (self.name, entry, setting)))


class TableArray(Table):
    """Tables of one name, of which there may be any number, `[[limit]]`; each is an object of the settings class.

    `rules` and `prepare` are for one entry, `settle` is for all of them. An entry is called by its setting `name`, of
    which no two may be the same; where it has none, by its number.
    """

    __slots__ = ()

    @property
    def header(self) -> str:
        """How it is written in the file."""
        return f"[[{self.name}]]"


def entry_name(values: Mapping[str, Any], number: int) -> str:
    """What an entry is called, the first being number 1."""
    return values.get("name") or str(number)
