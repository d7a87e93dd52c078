"""The table of readers in the reference, and the rules that a start warns by, against the real programs."""

from __future__ import annotations

import random
from io import StringIO
from pathlib import Path

import pytest
from dotenv.parser import parse_stream

from app.deploy.release.env_readers import READERS, otherwise
from tests.docs.pages import ROOT
from tests.peers.env_readers import ASK, EXAMPLES, readings, rows
from tests.support.systemd_machine import missing

PAGE = ROOT / "docs" / "reference" / "environment-files.md"

_ATOMS = [
    *(
        "x",
        "1",
        "é",
        " ",
        "\t",
        "#",
        " #",
        "'",
        '"',
        "`",
        "\n",
        "=",
        ":",
        "~",
        "@",
        "*",
        "!",
        "{",
        "%",
        "-",
        ";",
        "&",
        "|",
    ),
    *("<", "(", "$", "$B", "${B}", "$(b)", "\\", "\\n", "\\t", "\\\\", "\\'", '\\"', "\\$", "\\a", "\\r", "\\d"),
]


@pytest.mark.skipif(missing() != "", reason=missing())
def test_the_table_says_what_the_programs_do(tmp_path: Path) -> None:
    found = readings([f"{example}\n" for example in EXAMPLES.values()], tmp_path, list(ASK))
    assert "\n".join(rows(found)) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", [1, 2])
def test_no_line_that_a_program_takes_otherwise_goes_unsaid(seed: int, tmp_path: Path) -> None:
    """Lines at random: who makes something else of one than python-dotenv does is among those that are named."""
    texts = _lines(random.Random(seed), 120)
    found = readings(texts, tmp_path, list(ASK))
    unsaid = [
        (text, reader, found[reader][number])
        for number, text in enumerate(texts)
        for reader in READERS
        if reader in found and found[reader][number] != found["python-dotenv"][number] and reader not in otherwise(text)
    ]
    assert unsaid == []


def _lines(chance: random.Random, count: int) -> list[str]:
    lines: list[str] = []
    while len(lines) < count:
        value = "".join(chance.choice(_ATOMS) for _ in range(chance.randint(0, 5)))
        if quote := chance.choice(["", "'", '"']):
            value = quote + value.replace(quote, "") + quote + chance.choice(["", " ", " # c", "\t", "\r"])
        sign = chance.choice(["=", "=", " =", "= ", "=\t", "\t="])
        text = f"{chance.choice(['', '', 'export '])}{chance.choice(['A', 'A', 'A.B'])}{sign}{value}\n"
        read = [binding for binding in parse_stream(StringIO(text)) if binding.key or binding.error]
        if len(read) == 1 and read[0].value is not None:
            lines.append(text)
    return lines
