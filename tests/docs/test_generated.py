"""The pages that are made from the program are what it would write now."""

from __future__ import annotations

import runpy

from tests.docs.pages import ROOT

GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_page_of_the_command_line_is_up_to_date() -> None:
    assert GENERATE["CLI_PAGE"].read_text(encoding="utf-8") == GENERATE["cli_page"](), "run `make reference`"


def test_phases_of_a_deploy_are_up_to_date() -> None:
    text = GENERATE["PHASES_PAGE"].read_text(encoding="utf-8")

    assert text == GENERATE["phases_page"](text), "run `make reference`"
    assert all(f"| {phase} | " in text for phase in GENERATE["PHASES"])
    assert "promoting --> draining" in text


def test_table_of_incidents_is_that_of_the_drill() -> None:
    text = GENERATE["INCIDENTS_PAGE"].read_text(encoding="utf-8")

    assert text == GENERATE["incidents_page"](text), "run `make reference`"
    assert "is active but crashed" in text
