"""Which paths a rule speaks of, in all spellings that an application could take for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.path_patterns import PathPatterns, plainest, readings

INTERNAL = PathPatterns(["/internal/*", "/login"])

SAME = [
    b"/internal/x",
    b"/internal/x?a=1",
    b"/internal/",
    b"/internal",
    b"/INTERNAL/x",
    b"/%69nternal/x",
    b"/%2569nternal/x",
    b"//internal/x",
    b"//host/internal/x",
    b"/internal//x",
    b"/./internal/x",
    b"/a/../internal/x",
    b"/a/%2e%2e/internal/x",
    b"/a/..;/internal/x",
    b"/a/..;v=1/internal/x",
    b"/internal;v=1/x",
    b"/internal/..;/x",
    b"/internal/../x",
    b"/internal%2fx",
    b"/internal\\x",
    b"\\internal\\x",
    b"/a/..%5cinternal/x",
    b"http://host/internal/x",
    b"http://host//internal/x",
    b"/login",
    b"/login/",
    b"/Login",
    b"/login;jsessionid=1",
    b"/login#top",
    b"/x/..//login",
    b"/login/.",
]

OTHERS = [
    b"/",
    b"/internals",
    b"/x/internal/y",
    b"/logins",
    b"/login/now",
    b"*",
    b"/a%20b",
    b"http://host",
    b"/.well-known/x",
]


@pytest.mark.parametrize("target", SAME)
def test_a_rule_closes_a_path_in_every_spelling(target: bytes) -> None:
    assert INTERNAL.may_cover(target)


@pytest.mark.parametrize("target", OTHERS)
def test_a_rule_lets_other_paths_alone(target: bytes) -> None:
    assert not INTERNAL.may_cover(target)


@pytest.mark.parametrize("target", [b"/internal/x", b"/internal/a%20b", b"/internal/?q=/../x", b"/login"])
def test_a_rule_opens_what_is_surely_meant(target: bytes) -> None:
    assert INTERNAL.surely_covers(target)


@pytest.mark.parametrize(
    "target",
    [b"/internal/../x", b"/internal/..;/x", b"/internal/%2e%2e/x", b"/INTERNAL/x", b"/internal", b"/internal/..%5cx"],
)
def test_a_rule_does_not_open_what_could_be_another_path(target: bytes) -> None:
    assert not INTERNAL.surely_covers(target)


def test_no_pattern_is_every_path() -> None:
    every = PathPatterns([])
    assert every.may_cover(b"/a/..;/b") and every.surely_covers(b"/a/..;/b")


def test_an_encoded_pattern_is_its_decoded_path() -> None:
    coffee = PathPatterns(["/caf%C3%A9"])
    assert coffee.may_cover(b"/caf%c3%a9") and coffee.may_cover("/café".encode())


def test_what_has_too_many_readings_is_closed_and_not_opened() -> None:
    many = b"/x" + b"/%2e%2e/;a//\\" * 500
    assert readings(many) is None
    assert INTERNAL.may_cover(many) and not INTERNAL.surely_covers(many)


def test_a_long_path_of_encoded_letters_is_read() -> None:
    target = b"/" + b"%D0%B6" * 1300
    assert not INTERNAL.may_cover(target)


def test_no_more_paths_are_remembered_than_there_is_room_for() -> None:
    patterns = PathPatterns(["/a/*"])
    for number in range(3000):
        assert patterns.may_cover(b"/a/%d" % number)
        assert not patterns.may_cover(b"/b/%d" % number)


_PIECES = st.sampled_from(
    [b"/", b"//", b"internal", b"x", b"..", b".", b"%2e", b"%2f", b";a", b"\\", b"#", b"%", b"%25"]
)


@given(st.lists(_PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces)))
def test_readings_of_a_reading_are_among_them(path: bytes) -> None:
    found = readings(path)
    assert found is not None and path in found
    for one in found:
        again = readings(one)
        assert again is not None and again <= found


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        (b"/", b"/"),
        (b"/login", b"/login"),
        (b"/Login/", b"/login"),
        (b"//login", b"/login"),
        (b"//login/./x/..", b"/login"),
        (b"/x/..;a/%6Cogin#b", b"/login"),
        (b"/;a" * 9000, b"?"),
    ],
)
def test_one_path_stands_for_all_its_spellings(path: bytes, plain: bytes) -> None:
    assert plainest(path) == plain
