"""The ways to lay releases out that take other programs, or long: name and code are one after each command."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.layouts import Environments, Images, Job, Layout, Procfile, status, tell
from tests.deploy.shop import Done
from tests.peers.peers import PEERS_BIN
from tests.support.systemd_machine import HOME, SystemdMachine, missing


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
        self.configure("/srv/shop/releases/{release}", "/usr/bin/python3 -I -S app.py {port}")
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

    def prune(self, kept: set[str]) -> None:
        for folder in self.machine.path("/srv/shop/releases").iterdir():
            if f"/srv/shop/releases/{folder.name}" not in kept:
                shutil.rmtree(folder)

    def run(self, *words: str) -> Done:
        told = 'setpriv --reuid $0 --regid $0 --init-groups bin/blue_green_deploy "$@"; code=$?; echo; echo $code'
        out, _, code = self.machine.run("sh", "-c", told, self.USER, *words).rstrip().rpartition("\n")
        return Done(int(code), out, "")

    def ask(self, port: int) -> Mapping[str, str]:
        with self.machine.network():
            told = super().ask(port)
        assert (told["COLOUR"], told["RELEASE"]) == ("blue", told["BG_RELEASE"])
        return told


NEEDS_SYSTEMD = pytest.mark.skipif(bool(missing()), reason=f"needs a systemd of its own: {missing()}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "layout",
    [Environments, Honcho, Images, Job, pytest.param(Units, marks=NEEDS_SYSTEMD)],
    ids=lambda kind: kind.__name__,
)
def test_name_and_code_are_one(layout: type[Layout], tmp_path: Path) -> None:
    with layout(tmp_path) as arranged:
        tell(arranged)
