"""`init`: writes the files that run the application of a directory behind the router, and overwrites nothing."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from app.cli.entry import Arguments
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.installation import ROOT, commands
from app.operator_errors import OperatorError, UsageError
from app.settings.loading import TOML_NAME
from app.setup.finding import Application, find
from app.setup.writing import procfile, settings, units

__all__ = ["init"]

TEMPLATES = ROOT / "docs" / "how-to" / "systemd"

_OURS = Application("", "", doubts=("this is the router's own folder; --dir=DIR says where your application is",))


class _File(NamedTuple):
    """One file: its path from the home, its text, and what has become of it."""

    path: Path
    text: str
    outcome: str  # "written", "would be written" or "was there"


def init(arguments: Arguments) -> int:
    """Runs the command in the working directory; returns 1 when something was there already, else 0.

    Raises `UsageError` for a `--dir` that is no directory, `OperatorError` when a file cannot be written.
    """
    home = Path.cwd()
    folder = Path(str(arguments["--dir"] or home)).absolute()
    if not folder.is_dir():
        raise UsageError(f"--dir={arguments['--dir']}: there is no such directory", f"{ROUTER_PROGRAM} init --help")
    try:
        found = find(folder) if folder != ROOT else _OURS
        files = [_put(home, *each, dry=bool(arguments["--dry-run"])) for each in _texts(arguments, home, folder, found)]
    except OSError as error:
        raise OperatorError(f"{error.filename}: {error.strerror}", f"{ROUTER_PROGRAM} init --dry-run") from error
    if arguments["--json"]:
        print(json.dumps({"found": asdict(found), "files": [_told(file) for file in files]}, indent=2))
    else:
        _print(found, files)
    return int(any(file.outcome == "was there" for file in files))


def _texts(arguments: Arguments, home: Path, folder: Path, found: Application) -> list[tuple[str, str]]:
    """Names, from the home, and texts of all files that were asked for."""
    texts = [(TOML_NAME, settings(found, "" if folder == home else str(folder)))]
    if arguments["--procfile"]:
        texts.append(("Procfile", procfile(commands())))
    if arguments["--systemd"]:
        made = units(TEMPLATES, home, commands(), getpass.getuser())
        texts += [(f"systemd/{name}", text) for name, text in made.items()]
    return texts


def _put(home: Path, name: str, text: str, *, dry: bool) -> _File:
    """Writes a file that is not there."""
    path = home / name
    if dry:
        return _File(Path(name), text, "was there" if path.exists() else "would be written")
    path.parent.mkdir(exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return _File(Path(name), text, "was there")
    return _File(Path(name), text, "written")


def _told(file: _File) -> dict[str, str]:
    return {"path": str(file.path), "outcome": file.outcome, "text": file.text}


def _print(found: Application, files: list[_File]) -> None:
    reasons = "; ".join(found.because)
    print(f"🔎 {found.name}: {reasons}" if found.name else "🔎 No application was found")
    for doubt in found.doubts:
        print(f"⚠️  {doubt}")
    for file in files:
        if file.outcome == "was there":
            print(f"\n⚠️  {file.path} is there already and stays as it is. It would have become:\n")
        else:
            print(f"\n✅ {file.path} {'is written' if file.outcome == 'written' else 'would be written'}:\n")
        print("".join(f"   {line}".rstrip() + "\n" for line in file.text.splitlines()), end="")
    if any(file.outcome == "written" and file.path.parts[0] == "systemd" for file in files):
        print("\n   sudo cp systemd/*.service /etc/systemd/system/ && sudo systemctl daemon-reload")
    print(f"\n   Next: look it over, then {ROUTER_PROGRAM} config and {PROGRAM} start blue")
