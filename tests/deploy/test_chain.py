from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deploy.record.hash_chain import chained, last_hash, links


def a_chain(length: int = 4) -> list[bytes]:
    lines: list[bytes] = []
    for number in range(length):
        lines.append(chained({"id": number, "at": 0.1 * number}, last_hash(b"\n".join(lines))).rstrip(b"\n"))
    return lines


def faults(lines: list[bytes]) -> dict[int, str]:
    return {link.number: link.fault for link in links(lines) if link.fault}


def test_a_chain_that_was_not_touched_is_whole() -> None:
    assert faults(a_chain()) == {}
    assert [link.hash for link in links(a_chain())][-1] == json.loads(a_chain()[-1])["hash"]


def changed(line: bytes) -> bytes:
    return line.replace(b'"id": 1', b'"id": 9')


TAMPERED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], dict[int, str]]] = {
    "changed": (lambda it: [it[0], changed(it[1]), *it[2:]], {2: "was changed"}),
    "taken out": (lambda it: [it[0], *it[2:]], {2: "does not follow"}),
    "first taken out": (lambda it: it[1:], {1: "does not follow"}),
    "put in": (lambda it: [it[0], b'{"id": 7}', *it[1:]], {2: "has no hash"}),
    "put in twice": (lambda it: [it[0], it[0], *it[1:]], {2: "does not follow"}),
    "moved": (lambda it: [it[0], it[2], it[1], it[3]], {2: "does not", 3: "does not", 4: "does not"}),
    "torn": (lambda it: [it[0], it[1][:20], *it[2:]], {2: "not readable", 3: "does not follow"}),
    "forged with a hash of its own": (
        lambda it: [it[0], chained({"id": 1}, json.loads(it[0])["hash"]).strip(), *it[2:]],
        {3: "does not follow"},
    ),
    "not an object": (lambda it: [it[0], b"[]", *it[1:]], {2: "not readable"}),
}


@pytest.mark.parametrize(("tamper", "expected"), TAMPERED.values(), ids=TAMPERED.keys())
def test_the_broken_line_is_named(tamper: Callable[[list[bytes]], list[bytes]], expected: dict[int, str]) -> None:
    found = faults(tamper(a_chain()))
    assert found.keys() == expected.keys()
    assert all(expected[number] in found[number] for number in found)


def test_lines_from_before_the_chain_are_no_fault() -> None:
    lines = [b'{"id": "old"}', chained({"id": "new"}, "").strip()]
    assert faults(lines) == {}
    assert [bool(link.hash) for link in links(lines)] == [False, True]


def test_after_a_torn_line_the_chain_goes_on_from_the_last_good_one() -> None:
    lines = a_chain(2)
    lines += [b'{"id": 2, "pr', chained({"id": 3}, last_hash(b"\n".join([*lines, b'{"id": 2, "pr']))).strip()]
    assert faults(lines).keys() == {3}


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text()))
def test_whatever_a_line_says_it_is_found_unchanged(line: dict[str, object]) -> None:
    line = {key: value for key, value in line.items() if key not in ("prev", "hash")}
    assert faults([chained(line, "").strip()]) == {}
