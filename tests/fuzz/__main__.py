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

from tests.fuzz.mutations import inputs
from tests.fuzz.targets import TARGETS

FINDING = Path("fuzz-finding.bin")


def main(argv: list[str] | None = None) -> int:
    """Tries inputs until the time is over; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random bytes against the parsers.")
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
    tried = accepted = 0
    streams = {name: inputs(name, Random(f"{options.seed} {name}")) for name in names}
    while time.monotonic() < ends:
        for name, stream in streams.items():
            data = next(stream)
            tried += 1
            try:
                accepted += TARGETS[name](data)
            except Exception:
                FINDING.write_bytes(data)
                _say(f"{name}: a finding after {tried} inputs: {data!r}\nwritten to {FINDING}")
                raise
    _say(f"{tried} inputs, {accepted} of them accepted, no finding")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
