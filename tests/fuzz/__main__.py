"""The long run: `python -m tests.fuzz [--seconds 600] [--seed 1] [--target requests]`.

Ends with a traceback at the first finding, after writing the input to `fuzz-finding.bin` in the working directory;
with that file's name as an argument, only that input is tried again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random, SystemRandom

from tests.fuzz.targets import TARGETS, stream

FINDING = Path("fuzz-finding.bin")

TURN_S = 0.2
"""How long a target has its turn."""


def main(argv: list[str] | None = None) -> int:
    """Tries inputs until the time is over; the exit code. Raises what is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random bytes against all that reads.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("finding", nargs="?", type=Path, help="an input to be tried again")
    options = parser.parse_args(argv)
    names = options.target or list(TARGETS)
    if options.finding:
        for name in names:
            TARGETS[name](options.finding.read_bytes())
        return 0
    _say(f"seed {options.seed}")
    ends = time.monotonic() + options.seconds
    runs = [Run(name, options.seed) for name in names]
    while time.monotonic() < ends:
        for run in runs:
            run.go_on(min(ends, time.monotonic() + TURN_S))
    for run in runs:
        _say(str(run))
    _say("no finding")
    return 0


class Run:
    """The inputs of one target, in turns of some time: one of the slow ones must not keep the others waiting."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._inputs = stream(name, Random(f"{seed} {name}"))
        self._tried = self._accepted = 0
        self._took_s = 0.0

    def go_on(self, until: float) -> None:
        """Try inputs until that moment, one at least. Raises what is found."""
        began = time.monotonic()
        while True:
            data = next(self._inputs)
            self._tried += 1
            try:
                self._accepted += TARGETS[self._name](data)
            except Exception:
                FINDING.write_bytes(data)
                where = f"{self._name}, seed {self._seed}: a finding after {self._tried} inputs"
                _say(f"{where}: {data!r}\nwritten to {FINDING}")
                raise
            if time.monotonic() >= until:
                break
        self._took_s += time.monotonic() - began

    def __str__(self) -> str:
        rate = self._tried / (self._took_s or 1)
        return f"{self._name}: {self._tried} inputs, {rate:.0f} a second, {self._accepted} of them accepted"


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
