"""`config`: every setting in effect and where it came from; secrets are masked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TypedDict

from app.app_config import AppConfig, DeployConfig, ReleaseConfig
from app.cli.render import dim, heading
from app.config import Loaded, RouterConfig
from app.settings import describe, shown

__all__ = ["config_json", "config_text"]


class SettingJson(TypedDict):
    """One setting as `config --json` gives it."""

    value: object
    source: str


def config_json(loaded: Loaded) -> dict[str, SettingJson]:
    """Name → value and source; those of a table such as `[app]` are named `app.…`."""
    return {name: {"value": value, "source": loaded.sources[name]} for name, value, _ in _rows(loaded)}


def config_text(loaded: Loaded) -> str:
    """The table; what still has its default stands in the background."""
    rows = [(name, text, loaded.sources[name]) for name, _, text in _rows(loaded)]
    width = max(len(name) for name, _, _ in rows)
    lines = [heading("TRAFFIC ROUTER CONFIGURATION")]
    for name, text, source in rows:
        line = f"   {name:<{width}}  {text:<28}  {source}"
        lines.append(dim(line) if source == "default" else line)
    return "\n".join(lines)


def _rows(loaded: Loaded) -> list[tuple[str, object, str]]:
    """Each setting's name, its value for JSON, and its text."""
    rows: list[tuple[str, object, str]] = []
    for prefix, cls, values in (
        ("", RouterConfig, asdict(loaded.config)),
        ("app.", AppConfig, asdict(loaded.app)),
        ("deploy.", DeployConfig, asdict(loaded.deploy)),
        ("release.", ReleaseConfig, asdict(loaded.release)),
    ):
        for name, about in describe(cls).items():
            text = shown(about, values[name])
            rows.append((prefix + name, text if about.secret else values[name], text))
    return rows
