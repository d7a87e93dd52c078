"""The ways to lay releases out that take other programs, or long: name and code are one after each command."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.layouts import Environments, Images, Job, Layout, Procfile, status, tell
from tests.deploy.shop import CODE, ROOT, Done
from tests.peers.peers import PEERS_BIN
from tests.support.systemd_machine import HOME, SystemdMachine, missing
from tests.support.waiting import wait_until


class Honcho(Procfile):
    honcho = PEERS_BIN / "honcho"


class Units(Layout):
    """systemd runs the router and both versions; a file for each version, EnvironmentFile, says which release it is."""

    UNIT = f"""[Service]
EnvironmentFile=/srv/shop/shop.env
EnvironmentFile=/srv/shop/%s.env
ExecStart=
ExecStart=/usr/bin/python3 {HOME}/bin/blue_green_deploy run %s --release=${{RELEASE}}
"""
    USER = "traffic-router"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.machine = SystemdMachine(folder)
        self.port = 5004

    def __enter__(self) -> Layout:
        self.machine.__enter__()
        self.arrange()
        return self

    def __exit__(self, *unused: object) -> None:
        self.machine.__exit__()

    def arrange(self) -> None:
        release = '[release]\ndir = "/srv/shop/releases/{release}"\n'
        self.configure(".", "/usr/bin/python3 -I -S app.py {port}", release)
        self.machine.write(f"{HOME}/traffic_router.toml", (self.home / "traffic_router.toml").read_text())
        self.machine.run("useradd", "--system", f"--home-dir={HOME}", "--shell=/usr/sbin/nologin", self.USER)
        self.machine.run("install", "-d", "-o", self.USER, "-g", self.USER, "-m", "0750", f"{HOME}/.local_context")
        self.machine.run("sh", "-c", "cp docs/how-to/systemd/*.service /etc/systemd/system/")
        self.machine.write("/srv/shop/shop.env", "COLOUR=blue\n")
        for version in ("blue", "green"):
            drop_in = f"/etc/systemd/system/traffic-router-{version}.service.d/release.conf"
            self.machine.write(drop_in, self.UNIT % (version, version))
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "start", "traffic-router")

    def bring(self, name: str, code: str) -> None:
        self.machine.write(f"/srv/shop/releases/{name}/app.py", code)
        self.machine.run("chown", "-R", self.USER, "/srv/shop/releases")  # who removes them is the user of the commands

    def deploy(self, name: str) -> Done:
        version = {"blue": "green"}.get(str(status(self)["active_version"]), "blue")
        assert self.run("stop", version).code == 0
        self.machine.write(f"/srv/shop/{version}.env", f"RELEASE={name}\n")
        self.machine.run("systemctl", "restart", f"traffic-router-{version}", check=False)
        return self.run("switch", version, "--wait")

    def restart(self, version: str) -> Done:
        """Which a rollback had to start itself: systemd had given up what it was told to start there."""
        assert self.machine.shown(f"traffic-router-{version}", "ActiveState") == "failed"
        return super().restart(version)

    def left(self) -> set[str]:
        return {f"/srv/shop/releases/{folder.name}" for folder in self.machine.path("/srv/shop/releases").iterdir()}

    def run(self, *words: str) -> Done:
        told = 'setpriv --reuid $0 --regid $0 --init-groups bin/blue_green_deploy "$@"; code=$?; echo; echo $code'
        out, _, code = self.machine.run("sh", "-c", told, self.USER, *words).rstrip().rpartition("\n")
        return Done(int(code), out, "")

    def ask(self, port: int) -> Mapping[str, str]:
        with self.machine.network():
            told = super().ask(port)
        assert (told["COLOUR"], told["RELEASE"]) == ("blue", told["BG_RELEASE"])
        return told


class Container(Layout):
    """One container for all, which `make run` begins: its end is the end of each process, and pids begin anew.

    Namespaces stand in for an engine. The project cannot be written there; state and releases are on volumes.
    """

    def __enter__(self) -> Layout:
        self.configure("{home}/current", f"{sys.executable} -I -S app.py {{port}}")
        self.bring("r0", CODE.replace("{code}", ""))
        self.begin()
        return self

    def __exit__(self, *unused: object) -> None:
        self.container.kill()
        self.container.wait()

    def begin(self) -> None:
        told = 'mount -t proc proc /proc; mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; cd "$0"; "$@"; exit $?'
        room = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        run = ["sh", "-ec", told, str(ROOT), sys.executable, "-m", "app.cli.run"]
        with (self.home / "container.log").open("ab") as log:
            self.container = subprocess.Popen([*room, *run], env=self.environ(), stdout=log, stderr=log)
        wait_until(self.serves, "the router in the container", 40)

    def serves(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return "CODE" in self.ask(self.port)
        return False

    def start_again(self) -> None:
        self.__exit__()
        self.begin()

    def bring(self, name: str, code: str) -> None:
        self.shop.release(name)
        (self.shop.current / "app.py").write_text(code)

    def prune(self, kept: set[str]) -> None:
        self.prune_by_script(kept)

    def run(self, *words: str) -> Done:
        first = Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children").read_text().split()[0]
        inside = ["nsenter", f"--target={first}", "--mount", "--pid", str(ROOT / "bin" / "blue_green_deploy")]
        done = subprocess.run([*inside, *words], env=self.environ(), capture_output=True, text=True, timeout=60)
        return Done(done.returncode, done.stdout, done.stderr)


NEEDS_ROOM = pytest.mark.skipif(bool(missing()), reason=f"needs a systemd in namespaces of its own: {missing()}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "layout",
    [Environments, Honcho, Images, Job, *(pytest.param(kind, marks=NEEDS_ROOM) for kind in (Container, Units))],
    ids=lambda kind: kind.__name__,
)
def test_name_and_code_are_one(layout: type[Layout], tmp_path: Path) -> None:
    with layout(tmp_path) as arranged:
        tell(arranged)
