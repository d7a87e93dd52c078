"""A usage text, read: what may follow after each command, so that whoever tells it forgets none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Offer", "Usage", "read_usage"]

_TOKEN = re.compile(r"--[a-z-]+(?:=[A-Z]+)?|[A-Za-z-]+|\.\.\.|[()|\[\]]")


@dataclass(slots=True)
class Offer:
    """What may follow after the words of a command.

    `words` are those that lead on (`on` and `off` after `maintenance`), `options` are as they are typed: `--json`,
    and `--dir=` where a value follows. `versions` says that `blue` or `green` may be named once.
    """

    words: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    versions: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """A usage text, read.

    `offers` are by the words typed so far, each after a slash: "", "/maintenance", "/maintenance/on". `values` are the
    placeholders of the options that have a value, by the option (`--dir=` → DIR). `abouts` has a sentence for a command
    or an option where the text has one. `repeatable` are the options that may be given several times.
    """

    program: str
    offers: dict[str, Offer]
    values: dict[str, str]
    abouts: dict[str, str]
    repeatable: frozenset[str]

    def about(self, candidate: str) -> str:
        """One sentence, or "" where the text has none."""
        return self.abouts.get(candidate.removesuffix("="), "")


def read_usage(doc: str, program: str) -> Usage:
    """Read the commands and their options out of a program's help."""
    usage = doc.partition("Usage:\n")[2].partition("\n\n")[0]
    offers = {"": Offer()}
    values: dict[str, str] = {}
    repeatable: set[str] = set()
    for line in re.split(rf"^  {program} ", usage, flags=re.MULTILINE)[1:]:
        tokens = _TOKEN.findall(line)
        for option, _, value in (token.partition("=") for token in tokens):
            if value:
                values[f"{option}="] = value
        repeatable |= {_typed(tokens[at - 2]) for at, token in enumerate(tokens) if token == "..."}
        _add(offers, tokens)
    abouts = {**_sentences(doc, "Commands"), **_sentences(doc, "Options")}
    return Usage(program, offers, values, abouts, frozenset(repeatable))


def _add(offers: dict[str, Offer], tokens: list[str]) -> None:
    """Add what one line of the usage allows: its words lead on, and its options come after the last of them."""
    path = ""
    ends: list[str] = []
    at = 0
    while at < len(tokens) and re.fullmatch(r"[a-z][a-z-]*|\(", tokens[at]):
        choices = [tokens[at]]
        if tokens[at] == "(":
            close = tokens.index(")", at)
            choices, at = [token for token in tokens[at:close] if token not in "(|"], close
        offer = offers[path]
        offer.words += [word for word in choices if word not in offer.words]
        ends = [f"{path}/{word}" for word in choices]
        for end in ends:
            offers.setdefault(end, Offer())
        path, at = ends[0], at + 1
    for end in ends or [""]:
        _allow(offers[end], tokens[at:])


def _allow(offer: Offer, tokens: list[str]) -> None:
    offer.versions = offer.versions or "VERSION" in tokens
    options = [_typed(token) for token in tokens if token.startswith("--")]
    offer.options += [option for option in options if option not in offer.options]


def _typed(option: str) -> str:
    """As it is typed, up to where its value begins."""
    return re.sub("=.*", "=", option)


def _sentences(doc: str, title: str) -> dict[str, str]:
    """The first sentence about each command or option of a section."""
    section = doc.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
    return dict(_rows(section))


def _rows(section: str) -> Iterator[tuple[str, str]]:
    for row in re.split(r"\n(?=  \S)", section):
        if found := re.match(r"  (?:-\w )?([\w-]+)(?:=\w+)? {2,}(.*)", row, re.DOTALL):
            text = re.sub(r" *\[default: .*\]", "", " ".join(found[2].split()))
            yield found[1], re.split(r"(?<=[.:]) ", text)[0].rstrip(".:")
