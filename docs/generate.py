"""Write the pages that are made from the program: the command line's help, a deploy's phases, and the incidents.

    python docs/generate.py

`make reference` runs it. A test fails when a page is not what this would write.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.cli import blue_green_deploy, traffic_router  # noqa: E402  # the project's root had to be found first
from app.deploy import phases  # noqa: E402
from app.deploy.phases import PHASES, Phase  # noqa: E402
from tests.drill.incidents import INCIDENTS  # noqa: E402

__all__ = ["CLI_PAGE", "INCIDENTS_PAGE", "PHASES_PAGE", "cli_page", "incidents_page", "phases_page"]

CLI_PAGE: Final = ROOT / "docs" / "reference" / "cli.md"
PHASES_PAGE: Final = ROOT / "docs" / "explanation" / "life-of-a-deploy.md"

INCIDENTS_PAGE: Final = ROOT / "docs" / "how-to" / "incident-response.md"

_BEGIN: Final = "<!-- The next lines are generated from app/deploy/phases.py by `make reference`. -->"
_BEGIN_INCIDENTS: Final = "<!-- The next lines are generated from tests/drill/incidents.py by `make reference`. -->"
_END: Final = "<!-- End of the generated lines. -->"

_CLI_INTRODUCTION: Final = """# Command line

<!-- Generated from the commands' help by `make reference`; edit those instead. -->

Two commands: [`traffic_router`](#traffic_router) runs and watches the router,
[`blue_green_deploy`](#blue_green_deploy) starts the versions and moves the traffic between them. Both can be typed
from any directory, as `bin/traffic_router` or `python3 bin/traffic_router`; they find the project's `.venv` by
themselves. Data goes to standard output, and what went wrong to standard error.

Colour and redrawn lines come only on a terminal. `NO_COLOR` turns them off.

The settings that the options override are in [Configuration](configuration.md), the exit codes in
[Errors](errors.md#errors-of-the-commands).
"""

_UNDONE: Final = {
    "nothing": "nothing",
    "stop target": "the version is stopped, and remembered as it was before",
    "take back": "all requests go to the active version; the target is stopped, and remembered as it was before",
    "put back": "those of its processes that live get requests again; what was started and has none is stopped",
    "roll back": "traffic goes back to the version before",
    "roll back if watched": "with `--watch`, traffic goes back when the new version has failed; else nothing",
}
"""By the value of a rule's `Undo`."""


def cli_page() -> str:
    """The whole page of the command line."""
    parts = [_CLI_INTRODUCTION]
    for name, module in (("traffic_router", traffic_router), ("blue_green_deploy", blue_green_deploy)):
        parts.append(f"## {name}\n\n```text\n{(module.__doc__ or '').strip()}\n```\n")
    return "\n".join(parts)


def phases_page(page: str) -> str:
    """The page with its generated lines as they should be."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{_meanings()}\n\n{_diagram()}\n\n{_table()}\n\n{_END}{rest.partition(_END)[2]}"


def _meanings() -> str:
    """What each phase does, as the module's docstring says it."""
    told = re.findall(r"^    (\w+) {2,}(.+(?:\n {8,}.+)*)", phases.__doc__ or "", re.MULTILINE)
    rows = [f"| {phase} | {' '.join(meaning.split())} |" for phase, meaning in told]
    return "\n".join(["| Phase | What happens |", "|---|---|", *rows])


def _diagram() -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *_moves(), "```"])


def _moves() -> Iterator[str]:
    for phase in Phase:
        for following in sorted(PHASES[phase].next):
            yield f"    {phase} --> {following}"


def _table() -> str:
    rows = [
        f"| {phase} | {'yes' if rule.locked else 'no'} | {_UNDONE[rule.undo]} | {rule.left_behind} |"
        for phase, rule in PHASES.items()
    ]
    titles = ["| Phase | Holds the lock | What a failure undoes | What stands when the command is killed in it |"]
    return "\n".join([*titles, "|---|---|---|---|", *rows])


def incidents_page(page: str) -> str:
    """The page with the table of the incident drill as it should be."""
    before, _, rest = page.partition(_BEGIN_INCIDENTS)
    rows = dict[tuple[str, str], list[str]]()
    for incident in INCIDENTS.values():
        rows.setdefault((incident.seen, incident.does), []).append(incident.means)
    lines = [f"| `{seen}` | {'; or '.join(means)} | {does} |" for (seen, does), means in rows.items()]
    table = "\n".join(["| You read | It means | Do |", "|---|---|---|", *lines])
    return f"{before}{_BEGIN_INCIDENTS}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}"


def main() -> int:
    """Write the pages; returns the exit code."""
    CLI_PAGE.write_text(cli_page(), encoding="utf-8")
    PHASES_PAGE.write_text(phases_page(PHASES_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    INCIDENTS_PAGE.write_text(incidents_page(INCIDENTS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("".join(f"Wrote {page}\n" for page in (CLI_PAGE, PHASES_PAGE, INCIDENTS_PAGE)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
