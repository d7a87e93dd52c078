"""The environment of a version: what it gets of the shell, of files and of the settings, and who sees it."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from app.deploy.release.env_files import read_env_files
from app.operator_errors import ConfigError
from app.settings.tables.app_settings import AppConfig
from app.state.model import VersionState
from tests.deploy.shop import ROOT, Shop
from tests.support.router_process import free_port

BLUE = VersionState("blue", 5005, release="r1")


def read(text: str | bytes, folder: Path, warnings: list[str] | None = None, **settings: object) -> dict[str, str]:
    """What a file of that content gives."""
    path = folder / "shop.env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    app = AppConfig(env_file=(str(path),), **settings)  # type: ignore[arg-type]  # tests give fields by name
    return read_env_files(app, BLUE, {"HOME": "/h"}, ([] if warnings is None else warnings).append)["blue"]


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_python_dotenv_does_and_nothing_is_filled_in(tmp_path: Path) -> None:
    text = "A=1\nexport B = 'two words' # more\nC=\"x\\ny\"\nD=${HOME}\nE=\n\nF={port}\nA=2\n"
    assert read(text, tmp_path) == {
        **{"A": "2", "B": "two words", "C": "x\ny", "D": "${HOME}", "E": "", "F": "{port}"},
    }


def test_interpolation_sees_the_environment_of_the_version_and_what_stands_before(tmp_path: Path) -> None:
    text = "A=${HOME}/a\nB=${A}/b\nC=${NONE:-else}\n"
    found = read(text, tmp_path, env_file_interpolate=True)
    assert found == {"A": "/h/a", "B": "/h/a/b", "C": "else"}


def test_a_mark_at_the_beginning_and_ends_of_lines_from_another_system_do_no_harm(tmp_path: Path) -> None:
    assert read(b"\xef\xbb\xbfA=1\r\nB='x'\r\n", tmp_path) == {"A": "1", "B": "x"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"A=1\n\n\nB='hunter\n", r"shop\.env, line 4 is not NAME=VALUE"),
        (b"A=1\r\nB='hunter' hunter\r\n", r"shop\.env, line 2 is not NAME=VALUE"),
        (b"A=hunter\xff", r"shop\.env is not UTF-8 \(byte 8\)"),
        (b"A=hunter\0hunter", r"shop\.env, line 1 has what no variable can hold"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place_alone(content: bytes, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        read(content, tmp_path)
    assert "hunter" not in str(caught.value)


def test_a_name_without_a_value_is_left_out_and_said(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert read("A=1\n\npostgres://hunter@h\n", tmp_path, warnings) == {"A": "1"}
    assert warnings == [f"{tmp_path}/shop.env, line 3 has no `=`, so it is left out"]
    assert read("\ufeff", tmp_path) == {}


def test_a_file_that_everybody_can_read_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "shop.env"
    path.write_text("A=1\n")
    for mode, folder_mode, count in ((0o644, 0o755, 1), (0o640, 0o755, 0), (0o644, 0o750, 0)):
        path.chmod(mode)
        tmp_path.chmod(folder_mode)
        warnings: list[str] = []
        read_env_files(AppConfig(env_file=(str(path),)), BLUE, {}, warnings.append)
        reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
        assert len(warnings) == (count if reachable else 0)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, fault in (("pipe", "is not a file"), ("gone", "No such file"), (".", "is not a file")):
        with pytest.raises(ConfigError, match=fault):
            read_env_files(AppConfig(env_file=(str(tmp_path / name),)), BLUE, {})


# --- what a version gets ----------------------------------------------------------------------------------


def test_each_layer_wins_over_the_one_before_it(shop: Shop) -> None:
    for name, text in {
        "all.env": "A=file\nB=file\nC=file\nD=file\nPORT=1\n",
        "blue.env": "C=blue\nD=blue\nMINE=blue\n",
        "green.env": "C=green\nMINE=green\n",
    }.items():
        (shop.home / name).write_text(text)
    shop.release("r1")
    shop.configure(
        app='env_file = ["all.env", "{version}.env"]\nenv = {D = "set", WHERE = "{version}-{release}-{port}"}'
    )
    shop.must("start", "blue", "--release=r1", A="shell", B="shell", S="shell")
    told = shop.told("blue")
    assert [told[name] for name in "ABCDS"] == ["file", "file", "blue", "set", "shell"]
    assert (told["PORT"], told["WHERE"]) == (str(shop.ports["blue"]), f"blue-r1-{shop.ports['blue']}")
    shop.must("start", "green", "--release=r1")
    assert (shop.told("green")["MINE"], shop.told("green")["WHERE"]) == ("green", f"green-r1-{shop.ports['green']}")


def test_a_release_keeps_the_files_that_it_was_started_with(shop: Shop) -> None:
    """A restart and a way back to the other version give the same values, though the file changed or is gone."""
    for name in ("blue", "green"):
        (shop.home / f"{name}.env").write_text(f"KEY=first\nMINE={name}\n")
    shop.configure(app='env_file = "{version}.env"')
    shop.release("r1")
    shop.must("start", "blue", "--release=r1")
    (shop.home / "blue.env").write_text("KEY=second\n")
    said = shop.must("restart", "blue")
    assert "[app] env_file changed since" in said
    assert shop.told("blue")["KEY"] == "first"
    (shop.home / "blue.env").unlink()
    shop.must("restart", "blue")
    for name in ("r2", "r3"):
        shop.release(name)
        (shop.home / "blue.env").write_text("KEY=second\n")
        shop.must("deploy", f"--release={name}")
    shop.must("rollback", "--to=1")
    told = shop.told("blue" if shop.status()["active_version"] == "blue" else "green")
    assert (told["CODE"], told["KEY"], told["MINE"]) == ("r1", "first", told["BG_VERSION"])


def test_a_missing_file_stops_the_start_before_anything_is_done(shop: Shop) -> None:
    shop.release("r1")
    shop.configure(app='env_file = "/no/such/{release}.env"')
    done = shop.deploy("start", "blue", "--release=r1")
    assert (done.code, "/no/such/r1.env cannot be read: No such file" in done.err) == (2, True)
    assert shop.deploy("start", "blue").code == 2
    assert shop.status()["active_version"] is None


def test_the_marks_of_a_job_do_not_reach_what_it_leaves_running(shop: Shop) -> None:
    """A runner that ends, after the job, all that has its mark; the version and its supervisor are to live on."""
    shop.release("r1")
    marks = dict.fromkeys(("JENKINS_NODE_COOKIE", "RUNNER_TRACKING_ID", "VSTS_PROCESS_LOOKUP_ID"), "mark-of-the-job")
    job = {**marks, "GIT_DIR": ".", "MAKEFLAGS": "-j --jobserver-auth=3,4", "CI": "true", "SHOP_KEY": "kept"}
    shop.must("start", "blue", "--release=r1", **job)
    told = shop.told("blue")
    assert told["SHOP_KEY"] == "kept"
    assert job.keys() & told.keys() == {"SHOP_KEY"}
    assert _with_mark(b"mark-of-the-job") == []


def test_a_version_in_the_background_is_not_told_that_it_writes_to_the_journal(shop: Shop) -> None:
    shop.release("r1")
    shop.must("start", "blue", "--release=r1", JOURNAL_STREAM="8:1", INVOCATION_ID="unit-of-the-runner")
    assert {"JOURNAL_STREAM", "INVOCATION_ID"} & shop.told("blue").keys() == set()


def _with_mark(mark: bytes) -> list[str]:
    """The processes with that in their environment, as a runner looks for them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_router_in_the_background_has_no_mark_of_the_job_either(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    environ = {
        **shop.environ,
        "BUILD_ID": "mark-of-another-job",
        "INVOCATION_ID": "mark-of-another-job",
        "TRAFFIC_ROUTER_WORKERS": "1",
        "PORT": str(free_port()),
    }
    router = ROOT / "bin" / "traffic_router"
    done = subprocess.run([router, "start", "--daemon"], env=environ, capture_output=True, text=True, timeout=60)
    try:
        assert done.returncode == 0, done
        assert _with_mark(b"mark-of-another-job") == []
    finally:
        subprocess.run([router, "stop"], env=environ, capture_output=True, timeout=60)


def test_a_clean_environment_has_what_is_listed_and_nothing_else(shop: Shop) -> None:
    shop.release("r1")
    shop.configure(app='clean_env = true\npass_env = ["SHOP_*"]\nenv = {COLOUR = "red"}')
    shop.must("start", "blue", "--release=r1", SHOP_KEY="k", STRAY="x", LC_TIME="C", LANG="C.UTF-8", TZ="UTC")
    told = shop.told("blue")
    assert {"SHOP_KEY", "COLOUR", "LC_TIME", "LANG", "TZ", "PATH", "HOME"} <= told.keys()
    assert "STRAY" not in told
    known = {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TZ", "USER", "COLOUR", "PORT", "LC_CTYPE"}
    known |= {"BG_VERSION", "BG_RELEASE", "CODE", "ARGUMENTS", "CWD"}
    assert {name for name in told if name not in known and not name.startswith(("LC_", "SHOP_"))} == set()


# --- secrets ----------------------------------------------------------------------------------------------


def test_no_secret_is_in_anything_but_the_private_records(shop: Shop) -> None:
    """A canary in the shell, in a file and in the settings, through all that a deployment does and says."""
    secrets = {"shell": "canary-of-shell", "file": "canary-of-file", "settings": "canary-of-settings"}
    env_file = shop.home / "shop.env"
    env_file.write_text(f"FILE_KEY='{secrets['file']}'\n")
    env_file.chmod(0o600)
    shop.configure(
        app=f'env_file = "shop.env"\nenv = {{KEY = "{secrets["settings"]}"}}',
        deploy='smoke = ["sh -c \'test $BG_RELEASE != r3\'"]\npost = ["true"]',
    )
    shell = {"SHELL_KEY": secrets["shell"]}
    said = []
    for name in ("r1", "r2", "r3"):
        shop.release(name)
        done = shop.deploy("deploy", f"--release={name}", **shell)
        said += [done.out, done.err]
    env_file.write_text(f"FILE_KEY='{secrets['file']}\nEND\n")
    for words in (
        *(["restart", "blue"], ["restart", "blue", "--reconfigure"], ["rollback"], ["rollback", "--to=1"]),
        *(["status"], ["status", "--json"], ["history"], ["history", "--json"], ["health-check", "--json"]),
        *(["deploy", "--release=r4"], ["start", "green"], ["switch", "blue"], ["logs", "blue"]),
    ):
        done = shop.deploy(*words, **shell)
        said += [done.out, done.err]
    for words in (["config"], ["config", "--json"], ["status"], ["test"]):
        done_ = subprocess.run(
            [ROOT / "bin" / "traffic_router", *words], env={**shop.environ, **shell}, capture_output=True, text=True
        )
        said += [done_.stdout, done_.stderr]
    (shop.home / "traffic_router.toml").write_text(f'[app]\nenv = {{KEY = ["{secrets["settings"]}"], "=" = "x"}}\n')
    said.append(shop.deploy("status").err)
    told = "\n".join(said)
    written = {path: path.read_bytes() for path in (shop.home / ".local_context").rglob("*") if path.is_file()}
    for secret in secrets.values():
        assert secret not in told
        holding = {path for path, content in written.items() if secret.encode() in content}
        assert holding and {path.parent.name for path in holding} == {"releases"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}


def test_the_digest_of_an_environment_tells_nothing_without_its_key(shop: Shop) -> None:
    shop.release("r1")
    shop.must("start", "blue", "--release=r1", KEY="one")
    shop.must("start", "green", "--release=r1", KEY="one")
    digests = _digests(shop)
    assert digests["blue"] == digests["green"] is not None
    key = shop.home / ".local_context" / "releases" / "digest.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.write_bytes(b"another")
    assert _digests(shop)["blue"] != digests["blue"]
    key.unlink()
    assert _digests(shop)["blue"] is None


def _digests(shop: Shop) -> dict[str, object]:
    versions = shop.status()["versions"]
    assert isinstance(versions, dict)
    return {name: version["environment_digest"] for name, version in versions.items()}
