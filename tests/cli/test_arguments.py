"""The command line as docopt reads it: each command by its own usage, and what fits none by all of them."""

from __future__ import annotations

import pytest
from docopt import docopt

from app.cli import blue_green_deploy, traffic_router
from app.cli.entry import read_arguments
from app.operator_errors import UsageError

DOCS = {"blue_green_deploy": blue_green_deploy.__doc__ or "", "traffic_router": traffic_router.__doc__ or ""}

TYPED = """\
blue_green_deploy status --json
blue_green_deploy start blue --dir=/srv/shop --release r2
blue_green_deploy stop green --force --on-timeout wait
blue_green_deploy health-check
blue_green_deploy switch green
blue_green_deploy switch --wait green --on-time=proceed
blue_green_deploy rollback --to=3
blue_green_deploy deploy --stop-old --watch=60
blue_green_deploy pause --drain
blue_green_deploy maintenance on --allow=10.0.0.1 --allow=10.0.0.2
blue_green_deploy maintenance off
blue_green_deploy logs blue --follow
blue_green_deploy history
traffic_router start --port=8080 --daemon
traffic_router metrics --watch=2 --window=60
traffic_router config
"""


@pytest.mark.parametrize("line", TYPED.splitlines())
def test_command_is_read_as_if_by_the_whole_usage(line: str) -> None:
    program, *argv = line.split()
    read, whole = read_arguments(DOCS[program], argv, program), docopt(DOCS[program], argv)
    own = {name: value for name, value in whole.items() if name in read}
    assert read == own
    assert not any(whole[name] for name in whole.keys() - own.keys() if not name.startswith("--")), "another command"
    assert all(read[name] is None for name in whole.keys() - own.keys())


@pytest.mark.parametrize("line", ["switch", "switch green blue", "switch green --json", "switch --hel=1", "", "green"])
def test_what_fits_no_command_is_an_error(line: str) -> None:
    with pytest.raises(UsageError):
        read_arguments(DOCS["blue_green_deploy"], line.split(), "blue_green_deploy")


@pytest.mark.parametrize("line", ["--help", "-h", "switch --help", "switch green -h", "--hel"])
def test_help_is_all_of_it(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(DOCS["blue_green_deploy"], line.split(), "blue_green_deploy")
    assert capsys.readouterr().out.strip() == DOCS["blue_green_deploy"].strip()
