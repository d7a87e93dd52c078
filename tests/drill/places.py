"""Every place that speaks of a deployment, asked at one moment: what it says, and whether they all say the same."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from app.situation import KINDS, Grade, Kind
from app.units import plain
from tests.drill.scene import Done, Scene

__all__ = ["Places", "advice_in", "look", "start_of", "word_now"]

ANSWER_S = 5.0


@dataclass(frozen=True)
class Places:
    """What each place said. Those of the router are empty when it does not answer."""

    deploy: Done
    deploy_json: dict[str, Any]
    router: Done
    router_json: dict[str, Any]
    check: Done
    health_status: int
    health: dict[str, Any]
    gauge: str
    page: str
    history: str
    log: str

    @property
    def word(self) -> str:
        """The situation, in the word of `blue_green_deploy status`, which can always tell."""
        return word_of(self.deploy_json)

    @property
    def is_calm(self) -> bool:
        """Whether nothing is wrong and everybody says so."""
        return not self.faults() and KINDS[self.word].grade is Grade.OK

    def faults(self) -> list[str]:
        """Where the places do not agree."""
        return list(self._faults())

    def _faults(self) -> Iterator[str]:
        said = {"blue_green_deploy status": self.word, "traffic_router status": word_of(self.router_json)}
        if self.health_status:
            said |= {"/__router_health": word_of(self.health), "/__router_metrics": self.gauge}
        if len(set(said.values())) > 1 or self.word not in KINDS:
            yield f"the places tell different situations: {said}"
            return
        yield from self._faults_of_commands(KINDS[self.word])
        if self.health_status:
            yield from self._faults_of_router(KINDS[self.word])

    def _faults_of_commands(self, kind: Kind) -> Iterator[str]:
        advised = {json["situation"].get("advice") for json in (self.deploy_json, self.router_json)}
        if len(advised) > 1:
            yield f"the commands advise different things: {advised}"
        for done in (self.deploy, self.router):
            if done.code != kind.exit_code:
                yield f"{done.command} ended with {done.code}, and {self.word} is {kind.exit_code}"
            for advice in advised - {None}:
                if advice not in done.said:
                    yield f"{done.command} does not print its advice: {advice}"

    def _faults_of_router(self, kind: Kind) -> Iterator[str]:
        if (self.health_status == 200) != kind.is_fit:
            yield f"/__router_health is {self.health_status} in {self.word}"
        tone = re.search('data-tone="(.*?)"', self.page)
        tones = (kind.tone, "busy") if kind.tone == "calm" else (kind.tone,)  # a command may just have moved something
        if tone is None or tone[1] not in tones:
            yield f"the page's tone is not {kind.tone}"
        if (start := start_of(self.health)) not in self.page:
            yield f"the page does not say {start!r}"


def look(scene: Scene, log_from: int = 0, history_from: int = 0) -> Places:
    """Ask every place."""
    health_status, health = _ask(scene, "/__router_health")
    scraped = _ask(scene, "/__router_metrics?format=prometheus")[1]
    gauge = re.search(r'^traffic_router_situation\{situation="(\w+)"\} 1', str(scraped), re.MULTILINE)
    history = scene.context / "history.jsonl"
    return Places(
        deploy=scene.command("status"),
        deploy_json=_json(scene.command("status", "--json").said),
        router=scene.command("status", program="traffic_router"),
        router_json=_json(scene.command("status", "--json", program="traffic_router").said),
        check=scene.command("health-check"),
        health_status=health_status,
        health=_json(health),
        gauge=gauge[1] if gauge else "",
        page=plain(html.unescape(_ask(scene, "/monitoring")[1])),
        history=history.read_text()[history_from:] if history.exists() else "",
        log=scene.router_log.read_text()[log_from:] if scene.router_log.exists() else "",
    )


def word_now(scene: Scene) -> str:
    """The situation by the router alone, which is quickly asked; "silent" when it does not answer."""
    status, health = _ask(scene, "/__router_health")
    return word_of(_json(health)) if status else "silent"


def word_of(report: dict[str, Any]) -> str:
    """The situation's word in a report for programs; "" where there is none."""
    return str(report.get("situation", {}).get("word", ""))


def start_of(report: dict[str, Any]) -> str:
    """The situation's sentence up to its first figure, which may have moved on elsewhere."""
    sentence = str(report.get("situation", {}).get("sentence", ""))
    return re.split(r" \d| just now| the last|:|;", sentence)[0].rstrip(".")


def advice_in(text: str) -> list[str]:
    """The commands that a text advises, as they are to be typed; one with a place to fill in is for people."""
    advised = re.findall(rf"(?:Try|[Ww]ith|Next): ({_PROGRAM}.*)$", text, re.MULTILINE)
    return [line.strip() for line in advised if not re.search(r"=[A-Z]{2}", line.partition("#")[0])]


_PROGRAM = r"(?:python3|bin/|/|TRAFFIC_ROUTER_HOME=|sudo|systemctl|ls|lsof|ss|df|kill|ps) ?"


def _ask(scene: Scene, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{scene.port}{path}", timeout=ANSWER_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, OSError):
        return 0, ""


def _json(text: str) -> dict[str, Any]:
    """The object that a text begins with; a complaint may follow, which went to standard error."""
    try:
        found = json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
