"""Arrays of tables in `traffic_router.toml`, such as `[[limit]]`: how they are read, named, shown and compared."""

from __future__ import annotations

import tomllib

import pytest

from app.cli.config_view import config_json, config_text
from app.cli.configuration_reference import page
from app.operator_errors import ConfigError
from app.settings.loading import Loaded, load
from app.settings.tables.limit_settings import LimitConfig

TWO = """
[[limit]]
name = "login"
path = ["/login", "/api/token"]
methods = ["POST"]
rate = "10/m"

[[limit]]
name = "exports"
path = "/export/*"
key = ["client", "header:X-Api-Key"]
in_flight = 5
"""


def loaded(text: str) -> Loaded:
    return load({}, {}, tomllib.loads(text))


def test_entries_come_in_the_order_of_the_file() -> None:
    login, exports = loaded(TWO).every(LimitConfig)

    assert (login.name, login.path, login.methods, login.rate) == ("login", ("/login", "/api/token"), ("POST",), "10/m")
    assert (exports.name, exports.key, exports.in_flight) == ("exports", ("client", "header:X-Api-Key"), 5)
    assert login.key == ("client",) and not login.dry_run


def test_without_entries_there_are_none() -> None:
    assert loaded("").every(LimitConfig) == ()
    assert loaded("limit = []").every(LimitConfig) == ()


def test_program_gives_entries_as_objects() -> None:
    one, two = LimitConfig(name="a", rate="1/s"), LimitConfig(name="b", in_flight=3)

    assert Loaded.just(one, two).every(LimitConfig) == (one, two)
    assert Loaded.just().every(LimitConfig) == ()


FAULTS = [
    ('[[limit]]\nname = "a"\nrate = "10/x"', "[[limit]] a: rate = 10/x: expected a rate such as 10/s"),
    ('[[limit]]\nname = "a"\nrate = "0/s"', "[[limit]] a: rate = 0/s: expected a rate"),
    ('[[limit]]\nrate = "1/s"', "[[limit]] 1: name = '': a limit needs a name"),
    ('[[limit]]\nname = "a.b"\nrate = "1/s"', "[[limit]] 1: name = a.b: expected up to 40 letters"),
    ('[[limit]]\nname = "a"', "[[limit]] a: rate = '', in_flight = 0: expected one of the two"),
    ('[[limit]]\nname = "a"\nrate = "1/s"\nin_flight = 1', "expected one of the two"),
    ('[[limit]]\nname = "a"\nin_flight = 1\nburst = 2', "a burst is one of a rate"),
    ('[[limit]]\nname = "a"\nrate = "1/h"\nburst = 1000000', "longer than a year"),
    ('[[limit]]\nname = "a"\nrate = "1/s"\nkey = "ip"', "[[limit]] a: key = ip: expected one or a list of client"),
    ('[[limit]]\nname = "a"\nrate = "1/s"\nkey = "header:X Y"', "key = header:X Y: expected"),
    ('[[limit]]\nname = "a"\nrate = "1/s"\nmethods = ["post"]', "methods = post: expected a list of methods"),
    (
        '[[limit]]\nname = "a"\nrat = "1/s"',
        "[[limit]] a: rat: no such setting; did you mean rate? (traffic_router.toml)",
    ),
    ('[[limit]]\nname = "a"\nrate = "1/s"\n[[limit]]\nname = "a"\nrate = "2/s"', "[[limit]] a: there are several"),
    ('[limit]\nname = "a"', "[limit]: write [[limit]], of which there may be several (traffic_router.toml)"),
    (
        "".join(f'[[limit]]\nname = "n{number}"\nrate = "1/s"\n' for number in range(65)),
        "[[limit]]: there are 65 of them, expected 64 at most",
    ),
    ("limit = 5", "limit = 5: expected tables [[limit]]"),
    ("limit = [5]", "limit = [5]: expected tables [[limit]]"),
    ('[[limits]]\nname = "a"', "[[limits]]: no such setting; did you mean [[limit]]?"),
    ('[limits]\nname = "a"', "[limits]: no such setting; did you mean [[limit]]?"),
    ('[[apps]]\nname = "a"', "[[apps]]: no such setting; did you mean [app]?"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=[text.replace("\n", " ")[:80] for text, _ in FAULTS])
def test_fault_names_the_entry_and_what_is_expected(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert fault in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    text = 'main_port = 0\n[[limit]]\nname = "a"\nrate = "1"\n[[limit]]\nburst = -1\nin_flight = 2'
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    for part in ("main_port = 0", "[[limit]] a: rate = 1", "[[limit]] 2: burst = -1", "[[limit]] 2: name"):
        assert part in str(caught.value)


def test_config_shows_each_entry_and_where_it_came_from() -> None:
    shown = config_json(loaded(TWO))

    assert shown["limit.login.rate"] == {"value": "10/m", "source": "traffic_router.toml [[limit]]"}
    assert shown["limit.login.burst"] == {"value": 0, "source": "default"}
    assert shown["limit.exports.in_flight"]["value"] == 5
    assert "limit.exports.key" in config_text(loaded(TWO), 120)
    assert not any(name.startswith("limit") for name in config_json(loaded("")))


def test_changes_tell_of_entries_that_came_went_and_became_others() -> None:
    before = loaded(TWO)
    other = loaded(TWO.partition('[[limit]]\nname = "exports"')[0].replace("10/m", "20/m") + "burst = 5")

    assert other.changes_since(before) == [
        "limit.login.rate = 10/m → 20/m",
        "limit.login.burst = 0 → 5",
        "limit.exports is gone",
    ]
    assert "limit.exports.in_flight = 0 → 5" in before.changes_since(other)


def test_reference_has_a_part_for_each_array() -> None:
    assert "In tables `[[limit]]` of `traffic_router.toml`, as many as you like" in page()
    assert "| `in_flight` | `0` |" in page()


def test_limit_by_a_claim_needs_a_login() -> None:
    assert LimitConfig(name="a", rate="1/s", key=("client", "jwt:sub")).needs_login
    assert not LimitConfig(name="a", rate="1/s").needs_login
