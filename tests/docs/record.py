"""Write anew what the commands of a page print, where it is not what the page shows.

    python -m tests.docs.record README.md docs/how-to/roll-back.md

Then look at the difference before you believe it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.deployment import Deployment, differences
from tests.docs.pages import Command, commands


def record(page: Path) -> int:
    """Rewrite one page; gives how many commands print something else now."""
    lines = page.read_text(encoding="utf-8").splitlines()
    changed: list[tuple[Command, list[str]]] = []
    with tempfile.TemporaryDirectory() as folder, Deployment(Path(folder)) as deployment:
        for command in commands(page):
            printed = deployment.run(command.text)
            if differences(command.shown, printed):
                changed.append((command, printed))
    for command, printed in reversed(changed):  # from the end, so that the lines before keep their numbers
        lines[command.line : command.line + len(command.shown)] = printed
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(changed)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}: {record(Path(name).resolve())} commands print something else\n")
