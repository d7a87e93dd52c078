"""The engine behind every setting: one line per field, values from several layers, all faults at once.

A settings class is a frozen, slotted dataclass whose fields are made by `setting()`; the type of the default
decides how a value is read: int, float, bool, str, tuple of str, dict of str to str. This module knows
nothing about the router and touches nothing outside: mappings in, values or `ConfigError` out.

    class Limits:
        read_timeout: float = setting(30.0, "Wait for the answer.", unit="seconds", low=0.001, high=86400)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from app.operator_errors import ConfigError
from app.settings.kinds import Setting, read, shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Given", "Resolved", "Rule", "Setting", "build", "describe", "enforce", "from_environment"]
__all__ += ["from_table", "group", "raise_faults", "resolve", "setting", "shown", "unknown_name", "values_of"]

T = TypeVar("T")

_METADATA_KEY = "setting"
_GROUP_KEY = "group"


class Given(NamedTuple):
    """One value that somebody gave for a setting, as it was written, and where."""

    name: str
    raw: object
    source: str


class Resolved(NamedTuple):
    """What the layers come to: a value and a source for every field, and everything that is wrong."""

    values: Mapping[str, Any]  # each has the type of its field, which a mapping's type cannot say
    sources: Mapping[str, str]
    faults: tuple[str, ...]


class Rule(NamedTuple):
    """Settings that must fit together: `holds` gets their values in the order of `names`."""

    names: tuple[str, ...]
    holds: Callable[..., bool]
    text: str


def setting(
    default: T,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    zero: str = "",
    rule: str = "",
    check: Callable[[str], bool] | None = None,
    secret: bool = False,
) -> T:
    """Declare a dataclass field that is a setting; for the type checker it is of its default's type."""
    about = Setting(help, unit, low, high, zero, rule, check, secret)
    metadata = {_METADATA_KEY: about}
    if isinstance(default, dict):
        return cast(T, field(default_factory=lambda: dict(default), repr=not secret, metadata=metadata))
    return field(default=default, repr=not secret, metadata=metadata)


def group(cls: type[T]) -> T:
    """Declare a dataclass field that holds further settings, a settings class of their own.

    Where they are given, in a file or a variable, they stand among those of the class that they are a part of.
    """
    return field(default_factory=cls, metadata={_GROUP_KEY: cls})


def describe(cls: type[DataclassInstance]) -> dict[str, Setting]:
    """The settings of a class by name, in the order in which they are written; those of its groups last."""
    known = {
        f.name: f.metadata[_METADATA_KEY]._replace(name=f.name, default=_default_of(f.default, f.default_factory))
        for f in fields(cls)
        if _METADATA_KEY in f.metadata
    }
    for inner in _groups(cls).values():
        known |= describe(inner)
    return known


def _groups(cls: type[DataclassInstance]) -> dict[str, type[DataclassInstance]]:
    """The groups of a settings class, by field."""
    return {f.name: f.metadata[_GROUP_KEY] for f in fields(cls) if _GROUP_KEY in f.metadata}


def values_of(instance: DataclassInstance) -> dict[str, Any]:
    """The value of each setting by name, those of groups among them."""
    own = {f.name: getattr(instance, f.name) for f in fields(instance) if _METADATA_KEY in f.metadata}
    for name in _groups(type(instance)):
        own |= values_of(getattr(instance, name))
    return own


def build(cls: type[DataclassInstance], values: Mapping[str, Any]) -> DataclassInstance:
    """A settings object of values by name, those of its groups among them. Raises `ConfigError` as the class does."""
    groups = _groups(cls)
    own = {f.name: values[f.name] for f in fields(cls) if f.name not in groups}
    return cls(**own, **{name: build(inner, values) for name, inner in groups.items()})


def _default_of(default: object, factory: object) -> object:
    return cast(Callable[[], object], factory)() if default is MISSING else default


def from_table(cls: type[DataclassInstance], table: Mapping[str, object], source: str) -> tuple[list[Given], list[str]]:
    """The values that a plain mapping of field names gives, and a fault for each name that is no setting."""
    known = describe(cls)
    given = [Given(name, raw, source) for name, raw in table.items() if name in known]
    return given, [unknown_name(name, known, source) for name in table if name not in known]


def from_environment(
    cls: type[DataclassInstance],
    environ: Mapping[str, str],
    prefix: str,
    aliases: Mapping[str, str],
    reserved: Iterable[str] = (),
) -> tuple[list[Given], list[str]]:
    """The values that environment variables give, the prefixed names before the `aliases`, and the faults.

    An empty variable counts as unset, except where an empty text or list is a value. Names that begin with
    `prefix` and are neither a setting nor `reserved` are faults: most are a typing error.
    """
    known = describe(cls)
    names = {prefix + name.upper(): name for name in known} | dict(aliases)
    given = [
        Given(name, environ[variable], f"environment {variable}")
        for variable, name in names.items()
        if variable in environ and (environ[variable] != "" or known[name].kind in (str, tuple))
    ]
    strange = [v for v in environ if v.startswith(prefix) and v not in names and v not in reserved]
    return given, [unknown_name(variable, names, "environment", prefix) for variable in strange]


def resolve(cls: type[DataclassInstance], given: Iterable[Given], rules: Iterable[Rule] = ()) -> Resolved:
    """Take the first value given for each field, else its default; gather the faults.

    `given` comes strongest layer first; a value that a stronger layer overrides is not looked at.
    """
    known = describe(cls)
    values = {name: about.default for name, about in known.items()}
    sources: dict[str, str] = {}
    faults: dict[str, str] = {}
    for item in given:
        if item.name in sources:
            continue
        about, sources[item.name] = known[item.name], item.source
        try:
            values[item.name] = read(about, item.raw)
        except ValueError:
            where = f" ({item.source})" if item.source else ""
            faults[item.name] = f"{item.name} = {shown(about, item.raw)}: expected {about.allowed}{where}"
    together = _check_together(values, (rule for rule in rules if faults.keys().isdisjoint(rule.names)))
    sources = {name: sources.get(name, "default") for name in known}
    return Resolved(values, sources, (*faults.values(), *together))


def _check_together(values: Mapping[str, object], rules: Iterable[Rule]) -> list[str]:
    """A fault for each rule that the values break, naming the settings concerned and their values."""
    return [
        ", ".join(f"{name} = {values[name]!r}" for name in rule.names) + f": {rule.text}"
        for rule in rules
        if not rule.holds(*(values[name] for name in rule.names))
    ]


def enforce(instance: DataclassInstance, rules: Iterable[Rule]) -> None:
    """Check a settings object from its `__post_init__`, and store each value in its proper type (30 → 30.0).

    Raises `ConfigError` that lists every fault.
    """
    given = [Given(name, value, "") for name, value in values_of(instance).items()]
    found = resolve(type(instance), given, rules)
    raise_faults(found.faults)
    for f in fields(instance):
        if _METADATA_KEY in f.metadata:
            object.__setattr__(instance, f.name, found.values[f.name])  # this is still the construction


def raise_faults(faults: Sequence[str]) -> None:
    """Raise `ConfigError` with one line for each fault; do nothing when there is none."""
    if faults:
        count = "One setting is" if len(faults) == 1 else f"{len(faults)} settings are"
        raise ConfigError("\n  ".join([f"{count} not usable:", *faults]))


def unknown_name(name: str, known: Iterable[str], source: str, prefix: str = "") -> str:
    """The fault for a name that is no setting, with the nearest one that is; a `prefix` of all says nothing."""
    import difflib  # nobody who types well waits for it

    near = difflib.get_close_matches(name.removeprefix(prefix), [one.removeprefix(prefix) for one in known], n=1)
    return f"{name}: no such setting" + (f"; did you mean {prefix}{near[0]}?" if near else "") + f" ({source})"
