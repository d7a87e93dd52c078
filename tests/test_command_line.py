"""A printed command can be typed where it is read, and acts on the deployment that it was printed for."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import installation, whence
from app.command_line import PROGRAM, ROUTER_PROGRAM, Whence, typed_from
from app.whence import whence_of_command, whence_of_router
from tests.deploy.shop import Shop

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    yield
    typed_from(Whence())


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        (Whence(), "python3 bin/blue_green_deploy"),
        (Whence(""), "blue_green_deploy"),
        (Whence(".venv/bin"), ".venv/bin/blue_green_deploy"),
        (Whence("/srv/router/bin"), "/srv/router/bin/blue_green_deploy"),
        (Whence("/srv/my router/bin"), "'/srv/my router/bin/blue_green_deploy'"),
        (Whence("/r/bin", (("HOME", "/a b"),)), "HOME='/a b' /r/bin/blue_green_deploy"),
        (Whence("/r/bin", (), "shop"), "sudo -u shop /r/bin/blue_green_deploy"),
        (Whence("/r/bin", (("HOME", "/a"),), "shop"), "sudo -u shop env HOME=/a /r/bin/blue_green_deploy"),
    ],
)
def test_forms(said: Whence, typed: str) -> None:
    typed_from(said)
    assert f"{PROGRAM} status" == f"{typed} status"
    assert str(ROUTER_PROGRAM) == typed.replace("blue_green_deploy", "traffic_router")


HOME, STATE = "TRAFFIC_ROUTER_HOME", "TRAFFIC_ROUTER_STATE_FILE"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Whence()),
        ({"ROUTER_CALL": "bin/blue_green_deploy"}, Whence()),
        ({"ROUTER_CALL": "/r/bin/blue_green_deploy"}, Whence(str(ROOT / "bin"))),
        ({"ROUTER_CALL": "../bin/blue_green_deploy"}, Whence(str(ROOT / "bin"))),
        ({"ROUTER_CALL": "bin/blue_green_deploy", HOME: "/a"}, Whence(str(ROOT / "bin"), ((HOME, "/a"),))),
        ({"ROUTER_CALL": "/r/bin/x", HOME: str(ROOT)}, Whence(str(ROOT / "bin"))),
        (
            {"ROUTER_CALL": "/r/bin/x", HOME: "/a", STATE: "s/x.json"},
            Whence(str(ROOT / "bin"), ((HOME, "/a"), (STATE, "/a/s/x.json"))),
        ),
    ],
)
def test_command_is_as_short_as_it_was_called_where_that_will_do(environ: dict[str, str], expected: Whence) -> None:
    assert whence_of_command(environ) == expected
    assert "ROUTER_CALL" not in environ, "what it starts is called by nobody"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if this were installed, with its commands on `PATH`; gives their folder. One is where the deployment is."""
    scripts, place = tmp_path / "venv" / "bin", tmp_path / "shop"
    scripts.mkdir(parents=True)
    place.mkdir()
    for name in ("traffic_router", "blue_green_deploy"):
        (scripts / name).touch(0o755)
    for module in (installation, whence):
        monkeypatch.setattr(module, "is_package", lambda: True)
    monkeypatch.setattr("sys.executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", str(scripts), prepend=os.pathsep)
    monkeypatch.chdir(place)
    return scripts


@pytest.mark.parametrize(
    ("call", "environ", "typed"),
    [
        ("{scripts}/blue_green_deploy", {}, "blue_green_deploy"),
        ("../venv/bin/blue_green_deploy", {}, "../venv/bin/blue_green_deploy"),
        ("/other/blue_green_deploy", {}, "/other/blue_green_deploy"),
        ("{scripts}/blue_green_deploy", {HOME: "/a"}, f"{HOME}=/a {{scripts}}/blue_green_deploy"),
        ("", {}, f"{HOME}={{shop}} {{scripts}}/blue_green_deploy"),
    ],
)
def test_command_of_a_package_is_as_it_was_called_where_that_will_do(
    package: Path, call: str, environ: dict[str, str], typed: str
) -> None:
    words = {"scripts": str(package), "shop": os.getcwd()}
    typed_from(whence_of_command({"ROUTER_CALL": call.format_map(words), **environ}))
    assert str(PROGRAM) == typed.format_map(words)


def test_router_of_a_package_names_its_home_and_its_commands(package: Path) -> None:
    assert whence_of_router({}) == Whence(str(package), ((HOME, os.getcwd()),))
    assert whence_of_router({HOME: "/a", STATE: "s.json"}) == Whence(str(package), ((HOME, "/a"), (STATE, "/a/s.json")))


def test_commands_of_a_package_are_found_where_the_system_puts_them(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `pip install --user`, when they are not beside Python."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda name, scheme: str(package if "user" in scheme else tmp_path))
    assert installation.commands() == package


def test_directory_of_a_package_that_was_removed_is_still_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = os.getcwd()
    monkeypatch.setenv("PWD", gone)
    os.rmdir(gone)
    assert str(installation.home({})) == gone


def test_deployment_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".local_context").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    found = whence_of_command({"ROUTER_CALL": "bin/blue_green_deploy", HOME: str(tmp_path)})
    assert found == Whence(str(ROOT / "bin"), ((HOME, str(tmp_path)),), whence._user(os.getuid()))


@pytest.mark.parametrize(("environ", "uid", "named"), [({}, 1, False), ({"INVOCATION_ID": "x"}, 1, True)])
def test_router_names_the_user_of_a_service(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], uid: int, named: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert whence_of_router(environ) == Whence(str(ROOT / "bin"), (), whence._user(uid) if named else "")


def test_no_command_is_written_before_it_is_known_from_where() -> None:
    """A text made while a module is imported would keep the short form."""

    def written(node: ast.AST, path: Path) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.FormattedValue) and "PROGRAM" in ast.unparse(child):
                yield f"{path}: {ast.unparse(node)}"
            yield from written(child, path)

    paths = (ROOT / "app").rglob("*.py")
    assert [found for path in paths for found in written(ast.parse(path.read_text()), path)] == []


def test_no_command_is_written_by_hand() -> None:
    """But in help texts and in the reference, which are read in the project's folder."""
    by_hand = re.compile(r'["\s](python3 )?bin/(blue_green_deploy|traffic_router)\b')
    written = {str(path.relative_to(ROOT)) for path in (ROOT / "app").rglob("*.py") if by_hand.search(path.read_text())}
    assert written <= {
        "app/cli/configuration_reference.py",
        "app/cli/blue_green_deploy.py",
        "app/cli/traffic_router.py",
    }


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Shop]]:
    """Two deployments on one machine, one of them in a folder with a space."""
    found = [Shop(tmp_path_factory.mktemp("first")), Shop(tmp_path_factory.mktemp("second") / "the shop")]
    for shop in found:
        shop.release("r1")
        shop.must("start", "blue", "--release=r1")
    yield found
    for shop in found:
        shop.close()


@pytest.mark.parametrize("broken", [0, 1], ids=["first", "second"])
def test_hint_pasted_into_any_shell_mends_the_deployment_that_printed_it(shops: list[Shop], broken: int) -> None:
    shop, other = shops[broken], shops[1 - broken]
    state, untouched = (it.home / ".local_context" / "bg_state.json" for it in (shop, other))
    before = untouched.read_bytes()
    state.write_bytes(state.read_bytes()[:50])
    printed = subprocess.run(
        [ROOT / "bin" / "blue_green_deploy", "rollback"], env=shop.environ, cwd="/", capture_output=True, text=True
    )
    hint = re.findall(r"Try: (.+)", printed.stderr)[-1]
    typed = subprocess.run(
        ["sh", "-c", f"{hint} --yes"], env={"PATH": os.environ["PATH"]}, cwd="/", capture_output=True, text=True
    )
    assert typed.returncode == 0, (hint, typed.stderr)
    assert shop.status()["state_fault"] is None
    assert untouched.read_bytes() == before
