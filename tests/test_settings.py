"""The settings engine: reading values, layers, faults."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.operator_errors import ConfigError
from app.settings.engine import (
    Given,
    Rule,
    describe,
    enforce,
    from_environment,
    from_table,
    raise_faults,
    resolve,
    setting,
)
from app.settings.kinds import shown
from app.settings.loading import load


@dataclass(frozen=True, slots=True)
class Oven:
    """A settings class with one field of every kind."""

    plates: int = setting(4, "Plates.", low=1, high=9)
    bake_time: float = setting(30.0, "Baking.", unit="seconds", low=0.5, high=7200, zero="never")
    room: int = setting(0, "Room.", unit="bytes", low=0, high=1 << 40)
    fan: bool = setting(False, "Fan.")
    maker: str = setting("", "Maker.", rule="lower case", check=lambda text: text == text.lower())
    dishes: tuple[str, ...] = setting((), "Dishes.", rule="dishes in lower case", check=str.islower)
    key: str = setting("", "Key.", secret=True)
    notes: dict[str, str] = setting({}, "Notes.", check=str.isupper, secret=True)

    def __post_init__(self) -> None:
        enforce(self, RULES)


RULES = [Rule(("plates", "fan"), lambda plates, fan: plates < 9 or fan, "nine plates need the fan")]


def read(name: str, raw: object) -> object:
    found = resolve(Oven, [Given(name, raw, "")])
    raise_faults(found.faults)
    return found.values[name]


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("plates", "9", 9),
        ("plates", " 9 ", 9),
        ("plates", 9, 9),
        ("plates", 9.0, 9),
        ("bake_time", "1.5", 1.5),
        ("bake_time", 2, 2.0),
        ("bake_time", "500ms", 0.5),
        ("bake_time", "2 m", 120.0),
        ("bake_time", "1H", 3600.0),
        ("room", "10_000", 10_000),
        ("room", "10M", 10 * 1024 * 1024),
        ("room", "1.5KiB", 1536),
        ("room", "1g", 1 << 30),
        ("fan", True, True),
        ("fan", "Yes", True),
        ("fan", "0", False),
        ("maker", "bosch", "bosch"),
        ("dishes", "pie, cake  bread", ("pie", "cake", "bread")),
        ("dishes", ["pie"], ("pie",)),
        ("dishes", "", ()),
        ("notes", {"A": "b", "N": 5}, {"A": "b", "N": "5"}),
    ],
)
def test_value_is_read_into_the_type_of_the_default(name: str, raw: object, value: object) -> None:
    got = read(name, raw)

    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("plates", "0", "plates = 0: expected a whole number from 1 to 9"),
        ("plates", 10, "plates = 10: expected a whole number from 1 to 9"),
        ("plates", "1.5", "a whole number"),
        ("plates", "3s", "a whole number"),
        ("plates", "many", "plates = many"),
        ("plates", True, "plates = true"),
        ("plates", None, "plates = None"),
        ("bake_time", "0.1", "a number of seconds from 0.5 to 7200"),
        ("bake_time", "2 weeks", "bake_time = 2 weeks"),
        ("bake_time", float("nan"), "bake_time = nan"),
        ("bake_time", float("inf"), "bake_time = inf"),
        ("room", "-1", "a whole number of bytes"),
        ("fan", "maybe", "expected true or false"),
        ("fan", 1, "expected true or false"),
        ("maker", "Bosch", "expected lower case"),
        ("maker", 5, "expected lower case"),
        ("dishes", "pie CAKE", "dishes = pie CAKE: expected dishes in lower case"),
        ("dishes", 5, "dishes = 5"),
        ("notes", "A=b", "expected a table of texts"),
        ("notes", {"a": "b"}, "expected a table of texts"),
        ("notes", {"A": True}, "expected a table of texts"),
    ],
)
def test_unusable_value_names_setting_value_and_range(name: str, raw: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(name, raw)

    assert "One setting is not usable" in str(caught.value)
    assert expected in str(caught.value)


def test_constructor_keeps_values_in_their_type_and_is_frozen() -> None:
    oven = Oven(bake_time=30, plates=2)

    assert type(oven.bake_time) is float
    with pytest.raises(AttributeError):
        oven.plates = 3  # type: ignore[misc]  # that it is frozen is the point


def test_all_faults_are_reported_at_once_but_no_rule_over_a_faulty_value() -> None:
    with pytest.raises(ConfigError) as caught:
        Oven(plates=10, bake_time=0, fan=False)

    assert str(caught.value).splitlines() == [
        "2 settings are not usable:",
        "  plates = 10: expected a whole number from 1 to 9",
        "  bake_time = 0: expected a number of seconds from 0.5 to 7200",
    ]


def test_values_that_contradict_each_other_are_a_fault() -> None:
    with pytest.raises(ConfigError, match="plates = 9, fan = False: nine plates need the fan"):
        Oven(plates=9)
    assert Oven(plates=9, fan=True).plates == 9


def test_first_given_value_wins_and_a_faulty_weaker_one_is_not_looked_at() -> None:
    found = resolve(Oven, [Given("plates", "2", "strong"), Given("plates", "99", "weak")], RULES)

    assert found.values["plates"] == 2
    assert found.sources["plates"] == "strong"
    assert found.sources["fan"] == "default"
    assert found.faults == ()


def test_environment_reads_prefixed_names_before_aliases() -> None:
    environ = {"OVEN_PLATES": "3", "PLATES": "4", "OTHER": "x"}

    given, faults = from_environment(Oven, environ, "OVEN_", {"PLATES": "plates"})

    assert [(item.name, item.raw, item.source) for item in given] == [
        ("plates", "3", "environment OVEN_PLATES"),
        ("plates", "4", "environment PLATES"),
    ]
    assert faults == []


def test_empty_variable_is_unset_except_where_an_empty_text_is_a_value() -> None:
    given, _ = from_environment(Oven, {"OVEN_PLATES": "", "OVEN_MAKER": "", "OVEN_DISHES": ""}, "OVEN_", {})

    assert [item.name for item in given] == ["maker", "dishes"]


def test_unknown_variable_with_the_prefix_is_a_fault_unless_reserved() -> None:
    environ = {"OVEN_PLATS": "3", "OVEN_HOME": "/", "ZZZ": "1"}

    _, faults = from_environment(Oven, environ, "OVEN_", {}, ["OVEN_HOME"])

    assert faults == ["OVEN_PLATS: no such setting; did you mean OVEN_PLATES? (environment)"]


def test_unknown_name_in_a_table_is_a_fault() -> None:
    given, faults = from_table(Oven, {"plates": 1, "plats": 2, "qqqq": 3}, "oven.toml")

    assert given == [Given("plates", 1, "oven.toml")]
    assert faults == [
        "plats: no such setting; did you mean plates? (oven.toml)",
        "qqqq: no such setting (oven.toml)",
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("plates", 4, "4"),
        ("bake_time", 30.0, "30"),
        ("bake_time", 0.5, "0.5"),
        ("fan", True, "true"),
        ("fan", False, "false"),
        ("maker", "", '""'),
        ("dishes", ("pie", "cake"), "pie, cake"),
        ("dishes", (), '""'),
        ("key", "hunter2", "********"),
        ("key", "", '""'),
        ("notes", {"A": "b"}, "A=********"),
        ("notes", {}, "{}"),
    ],
)
def test_value_is_shown_for_people_with_secrets_masked(name: str, value: object, text: str) -> None:
    assert shown(describe(Oven)[name], value) == text


def test_table_that_is_no_secret_is_shown() -> None:
    @dataclass(frozen=True)
    class Shelf:
        books: dict[str, str] = setting({"A": "b"}, "Books.")

    about = describe(Shelf)["books"]

    assert shown(about, about.default) == "A=b"
    assert Shelf().books is not Shelf().books  # each has its own


def test_secret_value_appears_neither_in_a_fault_nor_in_the_repr() -> None:
    with pytest.raises(ConfigError) as caught:
        read("notes", {"a": "hunter2"})

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Oven(key="hunter2", notes={"A": "hunter2"}))


def test_allowed_values_in_words() -> None:
    about = describe(Oven)

    assert about["bake_time"].allowed == "a number of seconds from 0.5 to 7200"
    assert about["fan"].allowed == "true or false"
    assert about["maker"].allowed == "lower case"
    assert about["key"].allowed == "a text"


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ({"access_log_format": "apache"}, "access_log_format = apache: expected"),
        ({"access_log_fields": ["time", "colour"]}, "access_log_fields = time, colour: expected"),
        ({"access_log_headers": ["User Agent"]}, "access_log_headers = User Agent: expected"),
        ({"access_log_format": "common", "access_log_fields": ["time"]}, "access_log_format = 'common'"),
    ],
)
def test_lines_of_the_access_log_are_what_there_is(toml: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, {}, toml)
    assert fault in str(caught.value)


def test_members_of_a_line_may_be_chosen() -> None:
    chosen = load({}, {}, {"access_log_fields": ["time", "backend"], "access_log_headers": ["Accept"]}).config.log
    assert chosen.access_log_fields == ("time", "backend")
