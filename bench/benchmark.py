"""One way to write a benchmark: a module whose docstring is its help, with a function `run`.

    python -m bench              the benchmarks there are
    python -m bench NAME --help  the options of one

`run` gets a `Bench`: the options, a folder that is gone afterwards, and the cores. It prints what it found.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from docopt import docopt

from app.compiled import take
from bench.origin import run_origin
from bench.processes import Cores, Server, allow_many_files, raise_exit_on_signal
from bench.router import router

__all__ = ["BENCHMARKS", "Bench", "main"]

BENCHMARKS: Final = (
    *("compare", "quick", "metrics", "memory", "websocket", "start", "switch", "workers", "viewers", "layers"),
    *("balance", "limits", "logins", "log", "fleet"),
)
"""Each is a module of this package; `make bench-NAME` runs it, and `make bench` the first."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark works with; `options` is what docopt made of its command line."""

    options: Mapping[str, Any]
    folder: Path
    cores: Cores

    def count(self, option: str) -> int:
        """An option that is a whole number from 1 on; ends the program with a word when it is not."""
        text = self.options[option]
        if not (text.isascii() and text.isdigit() and int(text)):
            raise SystemExit(f"{option}={text}: a whole number from 1 on is needed")
        return int(text)

    @contextmanager
    def origin_and_router(self) -> Iterator[tuple[Server, Server]]:
        """A router of one worker in front of an origin."""
        with (
            run_origin(self.folder / "origin", self.cores) as origin,
            router(self.folder / "router", origin.port, self.cores.proxy) as us,
        ):
            yield origin, us


def main(arguments: Sequence[str]) -> None:
    """Runs the benchmark that is named first, with the options behind it; lists them all without a name."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    name, *rest = arguments
    if name not in BENCHMARKS:
        raise SystemExit(f"no such benchmark: {name}; there are {', '.join(BENCHMARKS)}")
    take(os.environ)  # what is measured in this process is what a router would run
    module = import_module(f"bench.{name}")
    options = docopt(module.__doc__ or "", argv=rest)
    raise_exit_on_signal()
    allow_many_files()
    with tempfile.TemporaryDirectory() as folder:
        module.run(Bench(options, Path(folder), Cores.chosen()))


def overview() -> str:
    """Every benchmark with the first line of its help."""
    lines = [f"  {name:<10} {(import_module(f'bench.{name}').__doc__ or '').splitlines()[0]}" for name in BENCHMARKS]
    return "\n".join(["python -m bench NAME [options]", "", *lines])
