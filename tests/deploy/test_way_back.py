"""Where a rollback leads after a deploy that failed, phase by phase: what docs/how-to/roll-back.md says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.deploy.deployer import Overrides
from app.operator_errors import OperatorError, StateError
from app.settings.tables.deploy_settings import DeployConfig
from tests.deploy.rehearsal import Rehearsal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "roll-back.md"


class Failure(NamedTuple):
    """How a deploy of r3 fails, and then: the release that has the traffic, and where a rollback leads."""

    settings: dict[str, Any]
    is_broken: bool
    serves: str
    back: str


FAILURES = {
    "a `before` command": Failure({"before": ("false",)}, False, "r2", "r1"),
    "the start": Failure({}, True, "r2", "r1"),
    "the health checks": Failure({}, True, "r2", "r1"),
    "a `smoke` command": Failure({"smoke": ("false",)}, False, "r2", "r1"),
    "a `post` command": Failure({"post": ("false",)}, False, "r2", "--to"),
}


@pytest.mark.parametrize("phase", FAILURES)
def test_rollback_after_a_deploy_that_failed(deployments: Callable[..., Rehearsal], tmp_path: Path, phase: str) -> None:
    failure = FAILURES[phase]
    it = deployments(start_timeout=1, health_timeout=1, dir=str(tmp_path / "releases" / "{release}"))
    for release in ("r1", "r2", "r3"):
        (tmp_path / "releases" / release).mkdir(parents=True)
    it.deployer().start("blue", Overrides(release="r1"))
    it.deployer().deploy(Overrides(release="r2"))
    it.deploy_config = replace(DeployConfig(), **failure.settings)
    if failure.is_broken:
        (tmp_path / "releases" / "r3" / "broken").touch()
    command = "false" if phase == "the start" else None
    with pytest.raises(OperatorError):
        it.deployer().deploy(Overrides(release="r3", command=command))
    active = it.state.active
    assert active is not None and active.release == failure.serves
    it.deploy_config = DeployConfig()
    if failure.back == "--to":
        with pytest.raises(StateError, match="a deploy that failed took its place") as refused:
            it.deployer().rollback()
        found = re.search(r"rollback --to=(\d+)   # starts r1 again", refused.value.hint)
        assert found is not None, refused.value.hint
        it.deployer().rollback(to=int(found[1]))
    else:
        it.deployer().rollback()
    active = it.state.active
    assert active is not None and active.release == "r1"


def test_page_has_the_table() -> None:
    rows = re.findall(
        r"^\| (?:in|at) ([^|]+) \| r2 \| `rollback(?: (--to)=N)?` leads to r1", PAGE.read_text(), re.MULTILINE
    )
    assert [(phase.strip(), way or "") for phase, way in rows] == [
        (phase, "--to" if failure.back == "--to" else "") for phase, failure in FAILURES.items()
    ] + [("the watch (`--watch`)", "--to")]
