"""The ways in which people lay releases out on a server, and the one story that has to be told truly about each.

A layout says how a release comes onto the machine, how it is deployed, and where a command is typed. The story and its
checks are the same for all: after each command the code that answers through the router is the release that
`status`, `history`, `$BG_RELEASE` and the receipt name.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.deploy.shop import CODE, ROOT, Done, Shop
from tests.support.router_process import free_port

BROKEN = "raise SystemExit('this release does not start')\n"

RELEASE = '[release]\ndir = "{home}/releases/{release}"\n'

APP = f"{sys.executable} -I -S app.py {{port}}"


class Layout:
    """A shop with a router before it, where nothing has been deployed yet; as a context manager."""

    is_in_place = False
    """Each release is put over the one before, so only what is put back can be started again."""

    gone = "is gone"
    """What is said of a release that was pruned."""

    gone_code = 1

    has_link = False
    """`current` leads to the active release."""

    def __init__(self, folder: Path) -> None:
        self.shop = Shop(folder)
        self.home = folder
        self.port = free_port()
        self.count = 0
        """How many releases were brought."""

    def __enter__(self) -> Layout:
        self.arrange()
        self.route("start", "--daemon")
        return self

    def __exit__(self, *unused: object) -> None:
        self.route("stop")
        self.shop.close()

    # --- what a layout says ---------------------------------------------------------------------------------

    def arrange(self) -> None:
        """What is done once, before the first release."""
        self.configure("{home}/current", APP)

    def bring(self, name: str, code: str) -> None:
        """A release comes onto the machine."""
        raise NotImplementedError

    def put_back(self, name: str) -> None:
        """The code of an earlier release is put where all releases are."""

    def deploy(self, name: str) -> Done:
        """What is typed, or written into a script, to deploy a release that was brought."""
        return self.run("deploy", f"--release={name}", "--stop-old")

    def restart(self, version: str) -> Done:
        return self.run("restart", version)

    def start_again(self) -> None:
        """All that runs ends at once, and begins anew, where that is the way of the place."""

    def prune(self, kept: set[str]) -> None:
        """Of the releases those alone are left that `status` shows to be in use."""
        _well(self.run("releases", "prune", "--keep=2"))
        assert self.left() == kept

    def prune_by_script(self, kept: set[str]) -> None:
        """The same where the product does not know of the directories."""
        for folder in self.left() - kept:
            shutil.rmtree(folder)

    def left(self) -> set[str]:
        """The directories of releases."""
        return {str(folder) for folder in (self.home / "releases").iterdir()}

    # --- how it is carried out ------------------------------------------------------------------------------

    def run(self, *words: str) -> Done:
        return self.shop.deploy(*words)

    def route(self, *words: str) -> str:
        """A command about the router, in a process of its own; gives what it printed. Raises `CalledProcessError`."""
        program = ROOT / "bin" / "traffic_router"
        return subprocess.run([program, *words], env=self.environ(), check=True, capture_output=True).stdout.decode()

    def environ(self) -> dict[str, str]:
        return self.shop.environ

    def ask(self, port: int) -> Mapping[str, str]:
        """What the application says of itself behind a port."""
        with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            told: Mapping[str, str] = json.load(answer)
            return told

    def configure(self, dir_: str, command: str, tables: str = "") -> None:
        """Write traffic_router.toml, with `tables` at its end; `{home}` is filled in."""
        top = f'main_port = {self.port}\nworkers = 1\nbind = "127.0.0.1"\n'
        app = f"[app]\ndir = {json.dumps(dir_)}\ncommand = {json.dumps(command)}\nhealthy_after = 1\n"
        text = (top + app + tables).replace("{home}", str(self.home))
        (self.home / "traffic_router.toml").write_text(text)


class Releases(Layout):
    """A directory for each release, and a link to the one of now, which the settings name: Capistrano, Deployer.

    The settings, the state and a file of variables are shared: each release has links to them, and the commands are
    typed in `current`.
    """

    SHARED = ("traffic_router.toml", ".local_context", "shop.env")

    def arrange(self) -> None:
        super().arrange()
        shared = self.home / "shared"
        shared.mkdir()
        (self.home / "shop.env").write_text("COLOUR=blue\n")
        for name in self.SHARED:
            (self.home / name).rename(shared / name)
            (self.home / name).symlink_to(shared / name)
        self.bring("r0", BROKEN)  # so that there is a `current` for the router to be started in
        self.shop.environ["TRAFFIC_ROUTER_HOME"] = str(self.shop.current)

    def bring(self, name: str, code: str) -> None:
        folder = self.home / "releases" / name
        folder.mkdir(parents=True)
        (folder / "app.py").write_text(code)
        for shared in self.SHARED:
            (folder / shared).symlink_to(self.home / "shared" / shared)
        self.shop.link(name)

    def prune(self, kept: set[str]) -> None:
        """The directory that the router was started in goes with the others."""
        said = self.route("reload")
        assert f"The router runs in {self.home}/releases/r0, and this is {self.shop.current.resolve()}" in said
        self.prune_by_script(kept)
        with pytest.raises(subprocess.CalledProcessError) as refused:
            self.route("reload")
        assert b"the directory that the router runs in is gone" in refused.value.stderr
        said = self.route("upgrade")
        assert f"It runs in {self.shop.current.resolve()} now, and ran in {self.home}/releases/r0" in said


class GitPull(Layout):
    """One working tree, where each release is pulled over the one before."""

    is_in_place = True
    gone = "is at revision"

    def arrange(self) -> None:
        self.origin, self.tree = self.home / "origin", self.home / "app"
        self.git("init", "-q", "-b", "main", str(self.origin))
        self.git("commit", "-q", "--allow-empty", "-m", "begin", folder=self.origin)
        self.git("clone", "-q", str(self.origin), str(self.tree))
        self.configure("{home}/app", APP)

    def git(self, *words: str, folder: Path | None = None) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *who, *words], cwd=folder or self.home, env=environ, check=True, capture_output=True, text=True
        )

    def bring(self, name: str, code: str) -> None:
        (self.origin / "app.py").write_text(code)
        self.git("add", ".", folder=self.origin)
        self.git("commit", "-q", "-m", name, folder=self.origin)
        self.git("tag", name, folder=self.origin)
        self.git("checkout", "-q", "main", folder=self.tree)
        self.git("pull", "-q", "--tags", folder=self.tree)

    def put_back(self, name: str) -> None:
        self.git("checkout", "-q", name, folder=self.tree)

    def prune(self, kept: set[str]) -> None:
        self.git("checkout", "-q", "main", folder=self.tree)


class Environments(Layout):
    """A wheel for each release, installed into a virtual environment of its own; the command names no file of code.

    The link to the active release is moved by the product.
    """

    has_link = True

    def arrange(self) -> None:
        self.configure(".", "bin/python -I -m shop {port}", RELEASE + 'current = "{home}/current"\n')

    def bring(self, name: str, code: str) -> None:
        folder = self.home / "releases" / name
        wheel = self.home / f"shop-{self.count}-py3-none-any.whl"
        about = f"Metadata-Version: 2.1\nName: shop\nVersion: {self.count}\n"
        kind = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with zipfile.ZipFile(wheel, "w") as packed:
            packed.writestr("shop.py", code)
            packed.writestr(f"shop-{self.count}.dist-info/METADATA", about)
            packed.writestr(f"shop-{self.count}.dist-info/WHEEL", kind)
            packed.writestr(f"shop-{self.count}.dist-info/RECORD", "")
        self.do(sys.executable, "-m", "venv", "--without-pip", folder)
        self.do(
            *(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"),
            *("--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", wheel),
        )

    def do(self, *words: str | Path) -> None:
        subprocess.run([*words], check=True, capture_output=True)


class Procfile(Layout):
    """Each release has a Procfile: `release` is run before anything of it starts, `web` is the application."""

    honcho: Path
    """Given by whoever has it."""

    def arrange(self) -> None:
        before = f"[deploy]\nbefore = ['{self.honcho} start release']\n"
        self.configure(".", f"{self.honcho} start web", RELEASE + before)

    def bring(self, name: str, code: str) -> None:
        folder = self.home / "releases" / name
        folder.mkdir(parents=True)
        (folder / "app.py").write_text(code)
        prepared = f"pwd >> {self.home}/prepared"
        (folder / "Procfile").write_text(f"release: {prepared}\nweb: {sys.executable} -I -S app.py $PORT\n")

    def deploy(self, name: str) -> Done:
        done = super().deploy(name)
        assert (self.home / "prepared").read_text().split()[-1] == str(self.home / "releases" / name)
        return done


class Images(Layout):
    """A read-only image for each release, which the command starts by its name; no directory is named.

    With a container engine the command is `docker run --rm --env=PORT --env=BG_RELEASE … shop:{release}`. Here a
    program stands in for the engine: it takes the image's files, and of the environment what is named.
    """

    gone = "Unable to find image"
    gone_code = 3

    ENGINE = """#!/bin/sh
    # engine run shop:TAG: the image's files, and of the environment what its options name.
    image=$(dirname "$0")/images/$2
    [ -d "$image" ] || { echo "Unable to find image '$2' locally" >&2; exit 125; }
    cd "$image" && exec env -i PORT="$PORT" BG_RELEASE="$BG_RELEASE" BG_VERSION="$BG_VERSION" ./entrypoint
    """

    def arrange(self) -> None:
        (self.home / "images").mkdir()
        self.program(self.home / "engine", self.ENGINE)
        self.configure("{home}", "{home}/engine run shop:{release}")

    def program(self, path: Path, text: str) -> None:
        path.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        path.chmod(0o755)

    def bring(self, name: str, code: str) -> None:
        image = self.home / "images" / f"shop:{name}"
        image.mkdir()
        (image / "app.py").write_text(code)
        self.program(image / "entrypoint", f'#!/bin/sh\nexec {sys.executable} -I -S app.py "$PORT"')
        for path in (image / "app.py", image):
            path.chmod(0o555)

    def prune(self, kept: set[str]) -> None:
        image = self.home / "images" / "shop:r1"
        image.chmod(0o755)
        shutil.rmtree(image)


class Job(Layout):
    """Each command is a job's, whose runner kills all that has the job's mark in its environment when the job ends.

    The marks are those of Jenkins and of GitHub's runner; each finds its processes in this way.
    """

    MARKS = ("JENKINS_NODE_COOKIE", "RUNNER_TRACKING_ID")

    def arrange(self) -> None:
        self.configure(".", APP, RELEASE)

    def bring(self, name: str, code: str) -> None:
        folder = self.home / "releases" / name
        folder.mkdir(parents=True)
        (folder / "app.py").write_text(code)

    def environ(self) -> dict[str, str]:
        return self.shop.environ | dict.fromkeys(self.MARKS, self.mark)

    def run(self, *words: str) -> Done:
        with self.job():
            program = ROOT / "bin" / "blue_green_deploy"
            done = subprocess.run([program, *words], env=self.environ(), capture_output=True, text=True, timeout=60)
        return Done(done.returncode, done.stdout, done.stderr)

    def route(self, *words: str) -> str:
        with self.job():
            return super().route(*words)

    @contextlib.contextmanager
    def job(self) -> Iterator[None]:
        self.mark = f"job-{uuid.uuid4()}"
        yield
        marked = self.mark.encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(process.name) != os.getpid() and marked in (process / "environ").read_bytes():
                    os.kill(int(process.name), 9)


# --- the story --------------------------------------------------------------------------------------------


def tell(layout: Layout) -> None:
    """Three releases and one that does not start: deploy, failed deploy, rollback, restart, `rollback --to`, prune."""
    first = _deploy(layout, "r1")
    _deploy(layout, "r2")
    _deploy_broken(layout, "r3", "r2")
    layout.start_again()
    check(layout, "r2")
    _back(layout, ["rollback"], "r1", "r2")
    _well(layout.restart(str(status(layout)["active_version"])))
    check(layout, "r1")
    _deploy(layout, "r4")
    _back(layout, ["rollback", f"--to={first}"], "r1", "r4")
    _deploy(layout, "r5")
    _deploy(layout, "r6")
    versions = status(layout)["versions"]
    layout.prune({version["directory"] for version in versions.values()})  # type: ignore[attr-defined]  # JSON
    _refused(layout, ["rollback", f"--to={first}"], "r6")
    _back(layout, ["rollback"], "r5", "r6")


def check(layout: Layout, release: str) -> int:
    """Everything names this release, and its code answers; gives the number of the command that made it so."""
    known = status(layout)
    active = known["active_version"]
    version = known["versions"][active]  # type: ignore[index]  # JSON
    told = layout.ask(layout.port)
    named = {"status": version["release"], "$BG_RELEASE": told["BG_RELEASE"], "the code": told["CODE"]}
    assert named == dict.fromkeys(named, release)
    assert told["BG_VERSION"] == active
    if layout.has_link:
        assert str((layout.home / "current").resolve()) == version["directory"]
    entries = json.loads(_well(layout.run("history", "--json")).out)
    last = [entry for entry in entries if entry["to"] == active == entry["target"] and entry["outcome"] == "done"][-1]
    assert last["release"] == release
    if last["from"] not in (None, active):
        receipt = last["facts"]["receipt"]["versions"]
        assert {active, last["from"]} <= set(receipt)
    return int(last["number"])


def status(layout: Layout) -> dict[str, object]:
    known: dict[str, object] = json.loads(layout.run("status", "--json").out)
    return known


def _well(done: Done) -> Done:
    assert done.code == 0, done
    return done


def _deploy(layout: Layout, name: str) -> int:
    layout.count += 1
    layout.bring(name, CODE.replace("{code}", name))
    _well(layout.deploy(name))
    return check(layout, name)


def _deploy_broken(layout: Layout, name: str, stays: str) -> None:
    layout.count += 1
    layout.bring(name, BROKEN)
    done = layout.deploy(name)
    assert done.code == 3, done
    check(layout, stays)


def _back(layout: Layout, words: list[str], name: str, leaves: str) -> None:
    """Back to an earlier release; where its code was written over, it is put there again first."""
    if layout.is_in_place:
        _refused(layout, words, leaves)
        layout.put_back(name)
    _well(layout.run(*words))
    check(layout, name)


def _refused(layout: Layout, words: list[str], stays: str) -> None:
    done = layout.run(*words)
    assert (done.code, layout.gone in done.out + done.err) == (layout.gone_code, True), done
    check(layout, stays)
