"""Every benchmark is run in one way: by its name, with the options that its docstring lists."""

from __future__ import annotations

from importlib import import_module

import pytest
from docopt import docopt

from bench.benchmark import BENCHMARKS, main


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_of_each_is_its_docstring(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert not ended.value.code
    module = import_module(f"bench.{name}")
    assert capsys.readouterr().out.strip() == (module.__doc__ or "").strip()
    assert docopt(module.__doc__ or "", argv=[]) is not None
    assert callable(module.run)


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()[2:]] == list(BENCHMARKS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no such benchmark: nothing; there are compare, quick"),
        (["start", "--times=0"], "--times=0: a whole number from 1 on"),
        (["start", "--times=two"], "--times=two: a whole number from 1 on"),
        (["compare", "--only=nobody"], "no such peer: nobody; there are "),
        (["balance", "--only=nobody"], "no such peer: nobody; there are nginx, haproxy"),
        (["balance", "--scenarios=none"], "no such scenario: none; there are slow, queue, kills, cpu"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_starts(arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        main(arguments)
