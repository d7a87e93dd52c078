"""Completion in real shells: what bash, zsh and fish offer, against what the usage texts have."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.cli import blue_green_deploy, traffic_router
from app.cli.entry import run
from app.cli.traffic_router import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = {"traffic_router": traffic_router.__doc__ or "", "blue_green_deploy": blue_green_deploy.__doc__ or ""}
MAINS = {"traffic_router": main, "blue_green_deploy": blue_green_deploy.main}
SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed"))
    for shell in ("bash", "zsh", "fish")
]
in_every_shell = pytest.mark.parametrize("shell", SHELLS)

Words = Sequence[str]


def by_bash(script: Path, folder: Path, lines: Sequence[Words]) -> list[set[str]]:
    """What bash offers for the last word of each line, which it is told part by part as Readline parts them."""
    asks = [f"ask {shlex.join(part for word in line for part in parts(word))}" for line in lines]
    (folder / "ask.bash").write_text(
        f"source {shlex.quote(str(script))}\n"
        'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_${1##*/}"; printf "%s\\n" "${COMPREPLY[@]}" ---; }\n'
        + "\n".join(asks)
    )
    return answers(run_shell(["bash", "--norc", "ask.bash"], folder))


def parts(word: str) -> list[str]:
    return [part for part in re.split("(=)", word) if part] or [""]


def by_fish(script: Path, folder: Path, lines: Sequence[Words]) -> list[set[str]]:
    asks = [f"complete -C {shlex.quote(' '.join(line))}; echo ---" for line in lines]
    (folder / "ask.fish").write_text(f"source {shlex.quote(str(script))}\n" + "\n".join(asks))
    return answers(run_shell(["fish", "--no-config", "ask.fish"], folder))


ZSHRC = """\
fpath+=({functions})
autoload -Uz compinit && compinit -u -D
source {script}
# What is offered is noted on its way to the list.
compadd() {{
    local -a noted
    if [[ ${{@[1,(i)(-|--)]}} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
    builtin compadd -O noted "$@"
    print -rl -- $noted >> answers
    builtin compadd "$@"
}}
zle-line-init() {{
    for BUFFER in {lines}; do
        CURSOR=$#BUFFER
        zle list-choices
        print -- --- >> answers
    done
    exit
}}
zle -N zle-line-init
"""


def by_zsh(script: Path, folder: Path, lines: Sequence[Words]) -> list[set[str]]:
    """What zsh's own completion is given, in an interactive shell: it has no other."""
    functions = shlex.quote(str(folder))
    quoted = shlex.join(" ".join(line) for line in lines)
    (folder / ".zshrc").write_text(ZSHRC.format(script=shlex.quote(str(script)), functions=functions, lines=quoted))
    (folder / "answers").write_text("")
    with Terminal(["zsh", "-d", "-i"], folder) as terminal:
        terminal.wait_for(lambda: terminal.process.poll() is not None)
    return answers((folder / "answers").read_text())


ASK = {"bash": by_bash, "zsh": by_zsh, "fish": by_fish}


def answers(text: str) -> list[set[str]]:
    """The candidates of each answer, without what is told about them."""
    return [
        {line.partition("\t")[0] for line in answer.splitlines() if line.strip()} for answer in text.split("---\n")[:-1]
    ]


def run_shell(command: Words, folder: Path) -> str:
    environ = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


class Terminal:
    """A program at a terminal of its own, as a context manager."""

    def __init__(self, command: Words, folder: Path) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        self.shown = b""
        environ = {**os.environ, "HOME": str(folder), "ZDOTDIR": str(folder), "TERM": "xterm"}
        environ |= {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        # fish insists on a terminal that is the one of its session.
        session = ["setsid", "--ctty", *command]
        self.process = subprocess.Popen(session, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, has_come: Callable[[], bool]) -> None:
        """Read what is shown until then; a terminal that nobody reads stands still."""
        ends = time.monotonic() + 40
        while not has_come():
            assert time.monotonic() < ends, self.shown.decode(errors="replace")
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._ours, 65536)
                except OSError:  # what Linux says when the other side is closed
                    self.process.wait(10)


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str, str], Path]:
    def write(program: str, shell: str) -> Path:
        assert run(MAINS[program], ["completion", shell]) == 0
        path = tmp_path / f"{program}.{shell}"
        path.write_text(capsys.readouterr().out)
        return path

    return write


Script = Callable[[str, str], Path]


def usage_lines(program: str) -> list[tuple[list[str], set[str]]]:
    """The words that each line of the usage begins with, and its options."""
    usage = DOCS[program].partition("Usage:\n")[2].partition("\n\n")[0]
    lines = re.findall(rf"^  {program} (.*(?:\n {{10,}}.*)*)", usage, re.MULTILINE)
    return [(re.match(r"(?:[a-z-]+ ?)*", line)[0].split(), set(re.findall(r"--[a-z-]+", line))) for line in lines[:-1]]  # type: ignore[index]


def offered(shell: str, script: Path, folder: Path, *lines: str) -> list[set[str]]:
    return ASK[shell](script, folder, [line.split(" ") for line in lines])


@in_every_shell
@pytest.mark.parametrize("program", DOCS)
def test_every_command_and_option_of_the_usage_is_offered(
    program: str, shell: str, script: Script, tmp_path: Path
) -> None:
    wanted = usage_lines(program)
    assert len(wanted) > 8 and any(options for _, options in wanted)
    lines = [f"{program} ", f"{program} -"]
    for words, _ in wanted:
        lines += [" ".join([program, *words, ""]), " ".join([program, *words, "-"])]

    first, dashed, *rest = offered(shell, script(program, shell), tmp_path, *lines)

    assert {words[0] for words, _ in wanted} <= first
    assert {"--help", "--version"} <= dashed
    for (words, options), plain, with_dash in zip(wanted, rest[::2], rest[1::2], strict=True):
        assert options <= {option.rstrip("=") for option in plain | with_dash}, words


CASES = {
    "blue_green_deploy st": {"status", "start", "stop"},
    "blue_green_deploy switch ": {"blue", "green"},
    "blue_green_deploy logs g": {"green"},
    "blue_green_deploy maintenance ": {"on", "off"},
    "blue_green_deploy maintenance off ": set(),
    "blue_green_deploy releases p": {"prune"},
    "blue_green_deploy releases prune --k": {"--keep="},
    "blue_green_deploy completion ": {"bash", "zsh", "fish"},
    "blue_green_deploy completion bash ": set(),
    "blue_green_deploy switch blue g": set(),
    "blue_green_deploy history --ver": {"--verify"},
    "blue_green_deploy history --verify --ver": set(),
    "blue_green_deploy maintenance on --allow=10.0.0.0/8 --al": {"--allow="},
    "blue_green_deploy start green --dir=r1 --dem": {"--demo"},
    "blue_green_deploy start green --dir r1 --di": set(),
    "blue_green_deploy deploy --command=r": set(),
    "blue_green_deploy no-such-command ": set(),
    "blue_green_deploy resume ": set(),
    "bin/blue_green_deploy resu": {"resume"},
}
"""A line, and all that is offered for its last word: by bash, and by the others up to how they write an option."""


@in_every_shell
def test_what_fits_is_offered_and_nothing_else(shell: str, script: Script, tmp_path: Path) -> None:
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
    found = offered(shell, script("blue_green_deploy", shell), tmp_path, *CASES)

    # fish offers an option that has a value as one word and as two, and everything with a dash only after a dash
    bare = [{word.rstrip("=") for word in words} for words in found]
    expected = [{word.rstrip("=") for word in words} for words in CASES.values()]
    for line, got, want in zip(CASES, bare, expected, strict=True):
        got = {word for word in got if not word.startswith("-")} if not line.rpartition(" ")[2] else got
        assert got == want, line


@in_every_shell
def test_values_are_offered_where_they_can_be_known(shell: str, script: Script, tmp_path: Path) -> None:
    (tmp_path / "releases" / "r7").mkdir(parents=True)
    (tmp_path / "release.txt").touch()
    lines = ["deploy --dir=rel", "deploy --dir=releases/", "switch blue --on-timeout=", "switch blue --on-timeout=p"]
    asked = [f"blue_green_deploy {line}" for line in lines]
    folders, inner, words, word = offered(shell, script("blue_green_deploy", shell), tmp_path, *asked)
    [files] = offered(shell, script("traffic_router", shell), tmp_path, "traffic_router stop --state-file=release.")

    assert names(folders) == {"releases"}
    assert names(inner) == {"r7"}
    assert names(words) == {"fail", "wait", "proceed"}
    assert names(word) == {"proceed"}
    assert names(files) == {"release.txt"}


def names(candidates: set[str]) -> set[str]:
    """Without what the shells put before and after a value: fish has the option in it, zsh no folder."""
    return {word.rpartition("=")[2].rstrip("/").rpartition("/")[2] for word in candidates}


RC = {
    "bash": (".bashrc", "PS1='rea''dy '", ["bash", "--rcfile", ".bashrc", "-i"]),
    "zsh": (".zshrc", "PS1='rea''dy '", ["zsh", "-d", "-i"]),
    "fish": ("fish/config.fish", "function fish_prompt; echo -n 'ready '; end", ["fish", "-i"]),
}
"""The file that an interactive shell reads first, a prompt for it, and how it is started."""


@in_every_shell
def test_tab_completes_at_a_terminal(shell: str, script: Script, tmp_path: Path) -> None:
    """Option, file and command, of a command that is called by its path."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "traffic_router"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > typed.new && mv typed.new typed\n')
    program.chmod(0o755)
    (tmp_path / "the_state.json").touch()
    path, prompt, command = RC[shell]
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(f"source {shlex.quote(str(script('traffic_router', shell)))}\n{prompt}\n")

    with Terminal(command, tmp_path) as terminal:
        terminal.wait_for(lambda: b"ready" in terminal.shown)
        # fish leaves it open whether "=" comes next
        terminal.type("bin/traffic_router conf\t--state-f" + ("ile=" if shell == "fish" else "\t") + "the_\t\r")
        terminal.wait_for((tmp_path / "typed").exists)

    assert (tmp_path / "typed").read_text().split() == ["config", "--state-file=the_state.json"]


@in_every_shell
@pytest.mark.parametrize("program", DOCS)
def test_script_is_valid(program: str, shell: str, script: Script) -> None:
    done = subprocess.run([shell, "-n", script(program, shell)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_script_is_printed_whatever_the_settings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_MAIN_PORT", "no number")

    assert run(main, ["completion", "bash"]) == 0
    assert capsys.readouterr().out.endswith("complete -F _traffic_router traffic_router\n")


@pytest.mark.parametrize("argv", [[], ["tcsh"], ["bash", "zsh"]])
def test_another_shell_is_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, ["completion", *argv]) == 2
    assert "traffic_router completion (bash|zsh|fish)" in capsys.readouterr().err
