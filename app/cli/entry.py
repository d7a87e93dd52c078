"""What every command begins and ends with: its working directory, its arguments, its exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from docopt import DocoptExit, docopt

from app import __version__
from app.cli.output import cannot_print, is_fault_of_output, prepare_streams
from app.command_line import typed_from
from app.operator_errors import ConfigError, OperatorError, UsageError
from app.settings.loading import HOME_VARIABLE
from app.whence import whence_of_command

__all__ = ["Arguments", "enter_home", "print_error", "read_arguments", "run"]

Arguments = Mapping[str, str | bool | None]
"""docopt's dict: `--option` → its text or None, flags and command words → bool."""


def enter_home() -> None:
    """Make `$TRAFFIC_ROUTER_HOME` the working directory where it is set; else stay: in the project's root, or, with a
    package, where the command was typed.

    Every relative path, and `traffic_router.toml`, is then found from there.
    """
    typed_from(whence_of_command(os.environ))
    home = os.environ.get(HOME_VARIABLE)
    if not home:
        return
    # Absolute from here on: our own commands that this one starts are to find the same place.
    os.environ[HOME_VARIABLE] = os.path.abspath(home)
    try:
        os.chdir(home)
    except OSError as error:
        raise ConfigError(f"{HOME_VARIABLE} = {home}: {error.strerror}") from error


def read_arguments(doc: str, argv: Sequence[str], program: str, version: str = __version__) -> Arguments:
    """Read the command line by its help text; `--help` and `--version` print and leave.

    Raises `UsageError` with the usage lines, and the slip where it can be told, when it does not fit them.
    """
    own = _own_usage(doc, argv, program)
    if own:
        # Nobody who types well waits for docopt to compare the usage of every command with every other's.
        with suppress(DocoptExit):
            return _Given(docopt(own, list(argv), help=False))
    try:
        return cast(Arguments, docopt(doc, list(argv), version=f"{program} {version}"))
    except DocoptExit as error:
        raise UsageError(_misuse(doc, argv, program, str(error)), f"{program} --help") from None


class _Given(dict[str, str | bool | None]):
    """The arguments of one command; those that only others have are None."""

    def __missing__(self, name: str) -> None:
        return None


def _own_usage(doc: str, argv: Sequence[str], program: str) -> str:
    """The usage of the command that `argv` begins with, and all options; "" where it begins with none."""
    _, usage, *_ = sections = doc.split("\n\n")
    commands = usage.split(f"\n  {program} ")[1:-1]  # the last line has what is no command: --help, --version
    own = [command for command in commands if argv and command.split()[0] == argv[0]]
    options = [section for section in sections if section.startswith("Options:")]
    return "\n\n".join(["Usage:" + "".join(f"\n  {program} {command}" for command in own), *options]) if own else ""


def _misuse(doc: str, argv: Sequence[str], program: str, said: str) -> str:
    """What is wrong as far as it can be told, and the usage of the command, or of all where none was named.

    `said` is docopt's own message: at times a line of its own, and all of the usage.
    """
    slip, usage = _slip(doc, argv, program), said.partition("Usage:")
    lines = [text for text in usage[2].split(f"\n  {program} ") if argv and text.split()[:1] == [argv[0]]]
    if not lines:
        return f"{slip}{said}"
    shown = "".join(f"\n  {program} {text.rstrip()}" for text in lines)
    return f"{slip or usage[0] or f'{argv[0]}: something is missing, or too much'}".rstrip() + f"\nUsage:{shown}"


def _slip(doc: str, argv: Sequence[str], program: str) -> str:
    """One line about the first word that the help text does not have; docopt itself does not say."""
    import difflib  # nobody who types well waits for it

    commands = re.findall(rf"^  {program} ([a-z-]+)", doc, re.MULTILINE)
    options = re.findall(r"--[a-z-]+", doc)
    given = [(argv[0], commands)] if argv else []
    given += [(word.partition("=")[0], options) for word in argv if word.startswith("--")]
    for word, known in given:
        if word not in known and not (known is commands and word.startswith("-")):
            near = difflib.get_close_matches(word, known, n=1)
            return f"{word}: not known here" + (f"; did you mean {near[0]}?\n" if near else "\n")
    return ""


def print_error(error: OperatorError) -> None:
    """What went wrong and what helps, to standard error, and below what was printed before."""
    sys.stdout.flush()
    print(error if error.exit_code == UsageError.exit_code else f"{error.sign} {error}", file=sys.stderr)
    if error.hint:
        print(f"   Try: {error.hint}", file=sys.stderr)


def run(command: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code; prints an `OperatorError` and its hint to standard error.

    Ctrl-C ends with 130 as a shell would report it, and a reader that has gone (`… | head`) is no error.
    """
    prepare_streams()
    try:
        code = command(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except OperatorError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OSError as error:
        if not is_fault_of_output(error):
            raise
        if isinstance(error, BrokenPipeError):
            return 0
        print(f"❌ {cannot_print(error)}", file=sys.stderr)
        return OperatorError.exit_code
