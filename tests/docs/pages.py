"""The pages of the documentation and what is in them: blocks of code, commands with their output, links, anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "Command", "anchors", "blocks", "commands", "links", "name_of", "pages", "prose"]

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the language that it names, its text, and the line in the page where it begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a `console` block, the lines that the page shows below it, and the page's line where it ends."""

    text: str
    shown: tuple[str, ...]
    line: int


def pages() -> list[Path]:
    """Every Markdown page of the project that is not a test's."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(path: Path) -> str:
    """The page's path from the project's root, for test ids and messages."""
    return str(path.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks in the given languages, or all of them."""
    text = page.read_text(encoding="utf-8")
    found = (Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text))
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[Command]:
    """The commands of the page's `console` blocks, in order."""
    return [command for block in blocks(page, "console") for command in _commands(block)]


def _commands(block: Block) -> Iterator[Command]:
    """Splits at the lines that begin with `$ `; those that go on with `>`, as in a shell, belong to the command."""
    text, shown, ends = "", list[str](), 0
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if text:
                yield Command(text, tuple(shown), ends)
            text, shown, ends = line[2:], [], number
        elif line.partition(" ")[0] == ">" and not shown:
            text, ends = f"{text}\n{line[2:]}", number
        else:
            shown.append(line)
    if text:
        yield Command(text, tuple(shown), ends)


def links(page: Path) -> list[str]:
    """The targets of the page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names by which the page's headings can be linked to, as code hosts make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))
    }
