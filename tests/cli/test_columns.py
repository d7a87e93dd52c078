"""On a terminal of 80 columns nothing is wider than that; what is piped stays as it is."""

from __future__ import annotations

import pytest

from app.cli.config_view import config_text
from app.cli.deploy_history import history_lines
from app.deploy.record.history import Entry
from app.settings.loading import load

ENTRY = Entry(
    id="1",
    at=0.0,
    who="deployer",
    pid=1,
    command="deploy --release=2026-11-27.1 --dir=/srv/shop/releases/2026-11-27.1 --watch=60",
    operation="deploy",
    target="green",
    came_from="blue",
    goes_to="green",
    release="2026-11-27.1",
    outcome="rolled back",
    detail="green does worse than blue did: 54 of 238 requests failed, and of those before 8 of 100; " * 2,
    number=12,
)


def test_history_fits_or_is_a_table() -> None:
    wide, narrow = history_lines([ENTRY], 10_000), history_lines([ENTRY], 80)
    assert wide[0].split() == ["#", "WHEN", "WHO", "COMMAND", "ACTIVE", "RELEASE", "OUTCOME", "TOOK"]
    assert len(wide) == 3 and ENTRY.detail.strip() in wide[2]
    words = ENTRY.command.split()
    assert [line for line in narrow if len(line) > 80 and len(line.split()) > len(words)] == []
    for text in ("12", "deployer", ENTRY.command, "2026-11-27.1", "rolled back"):
        assert text in "\n".join(narrow)
    assert max(len(line) for line in narrow if ENTRY.command not in line) <= 80


@pytest.mark.parametrize("columns", [80, 120])
def test_settings_fit(columns: int) -> None:
    loaded = load({}, {"TRAFFIC_ROUTER_ADMIN_ALLOW": "10.0.0.0/8, " * 20 + "::1"}, {})
    assert max(map(len, config_text(loaded, columns).splitlines())) <= columns
    piped = config_text(loaded, 10_000).splitlines()
    assert sum(line.lstrip().startswith("admin_allow") and "ADMIN_ALLOW" in line for line in piped) == 1
