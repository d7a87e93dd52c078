"""Which programs take a line otherwise: the rules and the table in the reference say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.deploy.release.env_files import read_env_files
from app.deploy.release.env_readers import MARK, READERS, RULES, otherwise
from app.operator_errors import ConfigError
from app.settings.tables.app_settings import AppConfig
from app.state.model import VersionState
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "environment-files.md").read_text(encoding="utf-8")
TABLE = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in PAGE.splitlines() if "|" in line]
ROWS = {cells[0]: dict(zip(TABLE[0][3:], cells[3:], strict=True)) for cells in TABLE[2:]}
EXAMPLES = {
    **{rule.what: rule.example for rule in RULES},
    "a byte order mark at the beginning of the file": f"{MARK}A=1",
}


def test_the_table_has_a_row_for_each_rule_and_no_other() -> None:
    assert list(ROWS) == list(EXAMPLES)


@pytest.mark.parametrize("what", EXAMPLES)
def test_who_is_named_is_who_makes_something_else_of_it_in_the_table(what: str) -> None:
    assert {reader for reader in READERS if ROWS[what][reader] != "the same"} == otherwise(f"{EXAMPLES[what]}\n")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "A=1",
            "A=postgres://u:p@h:5432/d",
            "A=/a/b,c+d==",
            "A=*",
            "A=50%",
            "A=[a]{b}^!",
            "  A=1",
            "A_1=grün",
            "A=5$",
        ),
        *("# comment\nA=1", "\n\nA=1"),
    ],
)
def test_what_all_of_them_agree_on_is_not_spoken_of(line: str) -> None:
    assert otherwise(f"{line}\n".partition("comment\n")[2] or f"{line}\n") == frozenset()


def test_a_start_names_the_variables_and_never_a_value(tmp_path: Path) -> None:
    path = tmp_path / "shop.env"
    path.write_bytes(f"{MARK}FIRST=1\nURL='hunter-one'\nKEY=hunter#two\nPLAIN=1\nURL='hunter-three'\n".encode())
    path.chmod(0o600)
    warnings: list[str] = []
    version = VersionState("blue", 5005)
    read_env_files(AppConfig(env_file=(str(path),)), version, {}, warnings.append)
    (said,) = warnings
    told = "docker (URL), honcho (FIRST, KEY), node (FIRST, KEY), shell (FIRST), systemd (FIRST)"
    assert said.startswith(f"{path} has lines that are read otherwise by {told}; ")
    assert "hunter" not in said
    path.write_text("KEY=-----BEGIN KEY-----\nMIIhunter==\nMIIHUNTER==\nhunter.x='y'\n")
    warnings.clear()
    read_env_files(AppConfig(env_file=(str(path),)), version, {}, warnings.append)
    assert "honcho (KEY, line 4)" in warnings[0] and "hunter" not in warnings[0].lower()
    for readers, count in ((("docker",), 1), ((), 0)):
        warnings.clear()
        read_env_files(AppConfig(env_file=(str(path),), env_file_readers=readers), version, {}, warnings.append)
        assert len(warnings) == count
    with pytest.raises(ConfigError, match="env_file_readers"):
        AppConfig(env_file_readers=("heroku",))
