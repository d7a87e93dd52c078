"""The commands shown in the pages: run where their output is shown, and checked against the usage texts elsewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from docopt import docopt

from app.cli import blue_green_deploy, traffic_router
from app.settings.loading import load
from tests.docs.deployment import Deployment, differences
from tests.docs.pages import ROOT, blocks, commands, name_of, pages

USAGE = {"traffic_router": traffic_router.__doc__ or "", "blue_green_deploy": blue_green_deploy.__doc__ or ""}

ENDS = frozenset("();<>|&")
"""What a token that ends a command consists of."""

RUN_PAGES = [page for page in pages() if commands(page)]
SHELL = ("sh", "bash", "console")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    with Deployment(tmp_path) as deployment:
        found = [difference for command in commands(page) if (difference := deployment.check(command))]

    assert not found, "\n\n".join(found)


def shell_lines(page: Path) -> list[str]:
    """Every command line in the page's blocks, without prompts and output."""
    lines: list[str] = []
    for block in blocks(page, *SHELL):
        text = block.text.replace("\\\n", " ")
        typed = text.splitlines() if block.language != "console" else re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        lines += [line.strip() for line in typed if line.strip() and not line.strip().startswith("#")]
    return lines


def ours_in(line: str) -> Iterator[tuple[str, list[str]]]:
    """Our commands in a line of shell: the program's name and its arguments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    program, arguments = "", list[str]()
    for token in [*lexer, ";"]:
        folder, _, name = token.rpartition("/")
        if program and set(token) <= ENDS:
            yield program, arguments
            program = ""
        elif program:
            arguments.append(token)
        elif name in USAGE and folder.endswith("bin"):
            program, arguments = name, []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_our_commands_exist_with_these_options(page: Path) -> None:
    for line in shell_lines(page):
        for program, arguments in ours_in(line):
            assert docopt(USAGE[program], arguments, help=False), line


def test_our_commands_are_found_in_a_line_of_shell() -> None:
    line = "A=1 sudo bin/blue_green_deploy deploy --command='a; b' | tail && /x/bin/traffic_router status # as ever"

    assert list(ours_in(line)) == [
        ("blue_green_deploy", ["deploy", "--command=a; b"]),
        ("traffic_router", ["status"]),
    ]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in [*shell_lines(page), *re.findall(r"`(make [a-z-]+)`", page.read_text(encoding="utf-8"))]:
        for target in re.findall(r"\bmake(?: -\S+)* ([a-z][a-z-]*)", text):
            assert target in targets, text


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_shell_blocks_are_valid_shell(page: Path) -> None:
    for block in blocks(page, "sh", "bash"):
        checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{name_of(page)}:{block.line}: {checked.stderr}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_settings_shown_are_usable(page: Path) -> None:
    for block in blocks(page, "toml"):
        if "traffic_router.toml" in block.text:
            assert load({}, {}, tomllib.loads(block.text)).config


def test_example_of_a_settings_file_is_usable() -> None:
    example = tomllib.loads((ROOT / "traffic_router.example.toml").read_text(encoding="utf-8"))

    assert load({}, {}, example).app.command


def test_comparison_sees_what_differs_and_passes_what_may() -> None:
    printed = ["✅ blue is healthy (200 in 1.93 ms)", "⏳ progress", "", "pid 12 of x"]

    assert not differences(["✅ blue is healthy (200 in 12 ms)", "pid 9 of x"], printed)
    assert not differences(["…", "pid 9 …"], printed)
    assert not differences(["  0.0 s  no answer", "  0.2 s  no answer"], ["  0.3 s  no answer"])
    assert "printed is" in differences(["✅ green is healthy (200 in 12 ms)", "pid 9 of x"], printed)
    assert "printed is" in differences(["✅ blue is healthy (200 in 12 ms)"], printed)
