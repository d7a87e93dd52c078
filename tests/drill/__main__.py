"""The command: `python -m tests.drill [--only NAME]… [--list] [--shots DIR] [--json FILE]`.

Ends with exit code 0 when everything was said as it should be and the printed advice helped; otherwise with 1, naming
what did not.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from tests.drill.drilling import Record, drill
from tests.drill.incidents import INCIDENTS
from tests.drill.pictures import camera
from tests.drill.report import as_json, as_text


def main(argv: list[str] | None = None) -> int:
    """Drill, report; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _options(argv)
    if options.list:
        sys.stdout.write("".join(f"{name}\n" for name in INCIDENTS))
        return 0
    try:
        records = _drill_all(options.only or list(INCIDENTS), options.shots)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; all that was started has ended\n")
        return 130
    sys.stdout.write(as_text(records) + "\n")
    if options.json:
        options.json.write_text(json.dumps([as_json(record) for record in records], indent=2) + "\n")
    return int(any(record.faults for record in records))


def _drill_all(names: Sequence[str], shots: Path | None) -> list[Record]:
    records = list[Record]()
    with camera(shots) if shots else nullcontext() as eye:
        for number, name in enumerate(names, 1):
            records.append(record := drill(name, eye))
            sign = "❌" if record.faults else "✅"
            sys.stderr.write(f"{sign} {number:>2} of {len(names)}  {name:<40} {record.took_s:5.1f} s\n")
    return records


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=INCIDENTS, metavar="NAME", help="only this; more than once")
    parser.add_argument("--list", action="store_true", help="print the names of the incidents")
    parser.add_argument("--shots", type=Path, metavar="DIR", help="pictures of the page, in Chromium")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report for programs")
    return parser.parse_args(argv)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
