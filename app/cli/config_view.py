"""`config`: every setting in effect and where it came from; secrets are masked."""

from __future__ import annotations

from textwrap import wrap
from typing import TypedDict

from app.cli.terminal import dim, heading
from app.settings.engine import shown
from app.settings.loading import Loaded

__all__ = ["config_json", "config_text"]


class SettingJson(TypedDict):
    """One setting as `config --json` gives it."""

    value: object
    source: str


def config_json(loaded: Loaded) -> dict[str, SettingJson]:
    """Name → value and source; those of a table such as `[app]` are named `app.…`."""
    return {name: {"value": value, "source": loaded.sources[name]} for name, value, _ in _rows(loaded)}


def config_text(loaded: Loaded, columns: int) -> str:
    """The table; what still has its default stands in the background. What is too long for `columns` is wrapped."""
    rows = [(name, text, loaded.sources[name]) for name, _, text in _rows(loaded)]
    indent = 3 + max(len(name) for name, _, _ in rows) + 2
    room = max(_VALUE_COLUMNS, columns - indent)
    lines = [heading("TRAFFIC ROUTER CONFIGURATION", loaded.config.name)]
    for name, text, source in rows:
        parts = wrap(text, room) or [""]
        last = f"{parts[-1]:<{_VALUE_COLUMNS}}  {source}"
        shown = [*parts[:-1], *([last] if len(last) <= room else [parts[-1], source])]
        block = f"\n{'':<{indent}}".join([f"   {name}".ljust(indent) + shown[0], *shown[1:]])
        lines.append(dim(block) if source == "default" else block)
    return "\n".join(lines)


_VALUE_COLUMNS = 28


def _rows(loaded: Loaded) -> list[tuple[str, object, str]]:
    """Each setting's name, its value for JSON, and its text."""
    rows = []
    for name, about, value, _ in loaded.rows():
        text = shown(about, value)
        rows.append((name, text if about.secret else value, text))
    return rows
