"""From an observation to the page: named fragments, each rendered again only when what it shows has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from app.dashboard import charts, content, figures
from app.dashboard.annotations import Annotation, annotate
from app.dashboard.canary_panel import canary_panel
from app.dashboard.fleet_panel import fleet_panel
from app.dashboard.observation import Observation, Past
from app.dashboard.sentence import advice, sentence
from app.dashboard.words import clock_text, count_text
from app.units import duration_text

__all__ = ["RANGES", "Renderer"]

T = TypeVar("T")

RANGES = {"short": ("Last 10 minutes", 10), "long": ("Last 6 hours", 12)}
"""The two spans of the charts: title, and lines of the table behind each chart."""


class Renderer:
    """Renders for one worker; `pause` lets others work in the middle of it.

    `fragments` gives everything on the page that changes. Markup is named by the id of the element that it is put
    into; "title", "tone", "topic", "at" and "icon" are plain texts.
    """

    def __init__(self, pause: Callable[[], None], name: str = "") -> None:
        self._pause = pause
        self._name = name
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            auto_reload=False,  # new files come with a reload of the router, and with the code that belongs to them
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        # Any: a template's macros have no types.
        self._macros: Any = self._environment.get_template("fragments.html").module
        pause()
        self._environment.get_template("page.html")  # each takes ten milliseconds the first time
        self._known: dict[str, tuple[object, object]] = {}

    def page(self, template: str, **values: object) -> str:
        """A whole page."""
        return self._environment.get_template(template).render(**values)

    def fragments(self, seen: Observation) -> dict[str, str]:
        """All fragments for what is seen."""
        now = seen.situation
        said = sentence(seen, now)
        found: dict[str, str] = {
            "sentence": self._of("sentence", said.text),
            "advice": self._of("advice", advice(seen, said, now)),
            "tone": said.tone,
            "topic": said.topic,
            "at": clock_text(seen.at),
            "title": _title(seen, said.tone, self._name),
            "icon": _icon(seen, said.tone),
            "notices": self._of("notices", tuple(content.notices(seen))),
            "meta": self._of("meta", _meta(seen)),
            **{f"card-{card.name}": self._of("card", card, card.name) for card in content.cards(seen)},
            "canary": self._of("canary", canary_panel(seen)),
            "in-flight": self._of("in_flight", tuple(content.in_flight(seen)), _unlisted(seen)),
            "failed": self._of("failed", tuple(content.failed(seen))),
            **({"limits": self._of("limits", tuple(content.limits(seen)))} if seen.minute.limits else {}),
            **(self._logins(seen) if seen.minute.logins is not None else {}),
            **({"fleet": self._of("fleet", fleet_panel(*seen.fleet))} if seen.fleet is not None else {}),
            "commands": self._of("commands", tuple(content.commands(seen))),
            "workers": self._of("workers", tuple(content.workers(seen))),
        }
        self._pause()
        notes = tuple(annotate(seen))
        found |= self._range("short", seen.short, notes)
        found |= self._range("long", seen.long, notes)
        return found

    def _logins(self, seen: Observation) -> dict[str, str]:
        return {
            "logins": self._of("logins", tuple(content.logins(seen))),
            "login-keys": self._of("login_keys", tuple(content.login_keys(seen))),
        }

    def _of(self, macro: str, *values: object) -> Markup:
        """A macro's markup, from memory when its values are the same as the last time."""
        key = f"{macro} {values[1]}" if macro == "card" else macro
        return self._remember(key, values, lambda: Markup(getattr(self._macros, macro)(*values)))

    def _range(self, name: str, past: Past, notes: Sequence[Annotation]) -> Mapping[str, Markup]:
        """The charts of one span, and what belongs to them; made anew when there is a new column or annotation."""

        def draw() -> dict[str, Markup]:
            said = figures.now(past)
            drawn = {
                f"{name}-flags": Markup(charts.annotations_svg(past, notes)),
                f"{name}-axis": Markup(charts.axis_svg(past)),
            }
            for panel in charts.PANELS:
                self._pause()
                key = f"{name}-{panel.key}"
                drawn[key] = Markup(charts.panel_svg(panel, past, notes))
                drawn[f"{key}-now"] = escape(said[panel.key])
            return drawn

        def tabulate() -> dict[str, Markup]:
            return {
                f"{name}-{panel.key}-rows": Markup(self._macros.rows(figures.table_rows(panel.key, past, rows)))
                for panel in charts.PANELS
            }

        rows = RANGES[name][1]
        drawn = self._remember(f"charts {name}", (past.end, notes), draw)
        return drawn | self._remember(f"tables {name}", figures.row_end(past, rows), tabulate)

    def _remember(self, key: str, values: object, make: Callable[[], T]) -> T:
        known = self._known.get(key)
        if known is None or known[0] != values:
            known = self._known[key] = (values, make())
        return cast(T, known[1])  # made by the same `make` under this key


def _title(seen: Observation, tone: str, name: str) -> str:
    alarm = "⚠ " if tone == "alarm" else ""
    return f"{alarm}{content.headline(seen)} · {name or 'Traffic Router'}"


def _icon(seen: Observation, tone: str) -> str:
    """Which of the icons the browser's tab shows."""
    if tone == "alarm":
        return "alarm"
    return seen.state.active_version or "none" if seen.state is not None else "none"


def _meta(seen: Observation) -> str:
    workers = len(seen.minute.workers)
    noun = "worker" if workers == 1 else "workers"
    requests = count_text(seen.lifetime.overall.requests)
    return f"{workers} {noun} · up {duration_text(seen.minute.uptime_s)} · {requests} requests"


def _unlisted(seen: Observation) -> int:
    """How many requests are in flight beside those in the list."""
    return max(0, seen.minute.overall.in_flight - min(len(seen.minute.rows), content.MAX_IN_FLIGHT))
