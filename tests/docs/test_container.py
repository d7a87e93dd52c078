"""The Dockerfile, read, and what it makes, run as far as that goes without an engine."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import ROOT
from tests.support.container import Container, missing

DOCKERFILE = ROOT / "Dockerfile"
PAGE = ROOT / "docs" / "how-to" / "run-in-a-container.md"
HOME = "/opt/traffic-router"


class Instruction(NamedTuple):
    word: str
    text: str


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, with lines that go on joined and comments left out."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = [line.split(None, 1) for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    return [Instruction(word, " ".join(rest.split())) for word, rest in lines]


READ = instructions(DOCKERFILE.read_text(encoding="utf-8"))


def only(word: str) -> str:
    """The text of an instruction that is there once."""
    [text] = [read.text for read in READ if read.word == word]
    return text


def command(word: str) -> list[str]:
    """The words of a command in exec form; raises `ValueError` for one in shell form."""
    words = json.loads(only(word).partition("CMD ")[2] if word == "HEALTHCHECK" else only(word))
    assert isinstance(words, list)
    return words


def copies() -> Iterator[tuple[str, str]]:
    """Each source of the image's files, and where it goes, below the working directory."""
    for read in READ:
        if read.word == "COPY":
            *sources, target = read.text.split()
            for source in sources:
                yield source, f"{target.rstrip('/')}/{source}" if target.endswith("/") else target


def ignored(path: str, rules: list[str]) -> bool:
    """Whether .dockerignore leaves a path out: the last rule that fits it, or a folder it is in, is the one."""
    parts = path.split("/")
    tops = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    result = False
    for rule in rules:
        pattern = rule.lstrip("!").rstrip("/")
        wide = pattern.removeprefix("**/")
        if any(_fits(top, pattern) or (wide != pattern and _fits(top.rpartition("/")[2], wide)) for top in tops):
            result = not rule.startswith("!")
    return result


def _fits(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def rules() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def build(folder: Path) -> None:
    """Copy what the image's instructions copy."""
    for source, target in copies():
        files = [path for path in [ROOT / source, *(ROOT / source).rglob("*")] if path.is_file()]
        for path in files:
            name = path.relative_to(ROOT).as_posix()
            if not ignored(name, rules()):
                place = folder / target / path.relative_to(ROOT / source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)


def environment() -> list[str]:
    return [read.text for read in READ if read.word == "ENV"]


# --- as it is written ------------------------------------------------------------------------------------------


def test_rules_of_what_is_ignored_are_read_as_an_engine_reads_them() -> None:
    some = ["*", "!app", "**/__pycache__", "app/compiled/build"]

    assert [ignored(path, some) for path in ("README.md", ".git/config", "app/cli/__pycache__/a.pyc")] == [True] * 3
    assert ignored("app/compiled/build/x/y.so", some)
    assert not ignored("app/compiled/build.py", some)
    assert not ignored("app/web.py", some)


@pytest.mark.parametrize(("source", "target"), list(copies()))
def test_what_is_copied_is_there_and_not_ignored(source: str, target: str) -> None:
    assert (ROOT / source).exists()
    assert not ignored(source, rules())
    assert target in (source, f"./{source}")


def test_nothing_else_gets_into_the_build() -> None:
    names = {path.name for path in ROOT.iterdir() if not ignored(path.name, rules())}

    assert names == {source for source, _ in copies()}


@pytest.mark.parametrize("word", ["CMD", "HEALTHCHECK"])
def test_command_is_in_exec_form_and_names_what_is_there(word: str, tmp_path: Path) -> None:
    build(tmp_path)
    python, flag, module, *_ = command(word)

    assert (python, flag) == (f"{only('WORKDIR')}/.venv/bin/python", "-m")
    assert tmp_path.joinpath(*module.split(".")).with_suffix(".py").is_file()


def test_packages_come_by_hash_and_none_is_compiled() -> None:
    [install] = [read.text for read in READ if read.word == "RUN" and "pip install" in read.text]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    assert {"--require-hashes", "--only-binary=:all:", "requirements.lock"} <= set(install.split())
    # What comes as source says so by having one file only, which is plain Python.
    unbuilt = [e.split("==")[0] for e in re.split(r"\n(?=\w)", lock) if e.count("--hash=") == 1]
    assert [name for name in re.findall(r"--no-binary=(\S+)", install) if name not in unbuilt] == []


def test_user_has_a_number_and_owns_the_volume_that_is_the_home() -> None:
    uid, _, gid = only("USER").partition(":")
    [volume] = json.loads(only("VOLUME"))
    run = " ".join(read.text for read in READ if read.word == "RUN")

    assert uid == gid and int(uid) > 999 and f"--uid {uid} " in run
    assert environment() == [f"TRAFFIC_ROUTER_HOME={volume}"]
    assert re.search(rf"install -d -o router -g router -m 0750 {volume}\b", run)
    assert only("FROM").endswith("-slim") and only("WORKDIR") == HOME and only("STOPSIGNAL") == "SIGTERM"


def test_page_has_the_numbers_and_paths_of_the_image() -> None:
    page = PAGE.read_text(encoding="utf-8")
    [volume] = json.loads(only("VOLUME"))

    for text in (f":{volume}", f"{only('EXPOSE')}:{only('EXPOSE')}", only("USER").partition(":")[0]):
        assert text in page


# --- as it runs ------------------------------------------------------------------------------------------------

ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).status)"


@pytest.mark.skipif(bool(missing()), reason=missing() or "it can be")
def test_image_serves_on_a_read_only_root_and_ends_on_sigterm(tmp_path: Path) -> None:
    project = tmp_path / "image"
    build(project)
    [volume] = json.loads(only("VOLUME"))
    uid = int(only("USER").partition(":")[0])
    python = command("CMD")[0]
    made = Container(tmp_path, project, volume=volume, uid=uid, environ=environment(), command=command("CMD"))
    with made as container:
        asked = container.wait_for(python, "-c", ASK, "http://127.0.0.1:5004/health")
        assert asked.strip() == "200"
        assert "serves all traffic" in container.wait_for(*command("HEALTHCHECK"))
        assert set(container.first().uids()) == {uid}
        for place in ("/", HOME, f"{HOME}/app", "/etc", "/var/lib"):
            assert "Read-only file system" in container.run("touch", f"{place}/x").stderr, place

        deployed = container.run("bin/blue_green_deploy", "deploy")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert container.wait_for(python, "-c", ASK, "http://127.0.0.1:5004/health").strip() == "200"

        container.first().send_signal(signal.SIGTERM)
        assert container.process.wait(60) == 0, container.output
        # Also the one that was started later, and has the traffic: nothing is left for the kernel to kill.
        assert {"blue", "green"} <= set(re.findall(r"(blue|green) (?:is )?stopped", container.output)), container.output


@pytest.mark.skipif(bool(missing()), reason=missing() or "it can be")
def test_health_check_fails_without_a_router(tmp_path: Path) -> None:
    project = tmp_path / "image"
    build(project)
    [volume] = json.loads(only("VOLUME"))
    made = Container(tmp_path, project, volume=volume, uid=10001, environ=environment(), command=command("HEALTHCHECK"))
    with made as container:
        assert container.process.wait(60) == 1
    assert "nothing listens on 127.0.0.1:5004" in container.output
