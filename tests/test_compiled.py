"""What is compiled, when it is taken, and what may not be in a module that is compiled."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import app.compiled as compiled_package
from app.compiled import MODULES, sources
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import running_router

ROOT = Path(__file__).resolve().parents[1]
DESCRIBE = "import os; from app.compiled import describe; print(describe(os.environ))"


@pytest.fixture(scope="module")
def compiled() -> bool:
    """Compiles the sources, if they are not; whether that is possible here."""
    subprocess.run(["make", "--no-print-directory", "compile"], cwd=ROOT, check=True)
    can_not = subprocess.run([sys.executable, "-m", "app.compiled.build", "--can"], cwd=ROOT, capture_output=True)
    return not can_not.stderr


@pytest.fixture
def copy(tmp_path: Path, compiled: bool) -> Path:
    """The project's `app` in another place, with what was compiled of it."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(copy: Path, code: str, **environ: str) -> str:
    """What a Python prints there that runs `code`."""
    environ = {**os.environ, "TRAFFIC_ROUTER_PURE": "", **environ}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environ, capture_output=True, text=True)
    return done.stdout + done.stderr


def handlers(function: ast.FunctionDef) -> list[str]:
    """The names that the `except` clauses of a function bind."""
    return [node.name for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) and node.name]


@pytest.mark.parametrize("module", MODULES)
def test_no_two_except_clauses_of_a_function_bind_one_name(module: str) -> None:
    """The second clause would raise TypeError instead (findings/mypyc-second-except-clause-of-one-name.sh)."""
    tree = ast.parse(sources()[module].read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    twice = {f.name: name for f in functions for name, count in Counter(handlers(f)).items() if count > 1}
    assert not twice


@pytest.mark.parametrize("module", MODULES)
def test_no_class_body_refers_to_its_own_methods(module: str) -> None:
    """`other = method` would be a KeyError (findings/mypyc-method-under-a-second-name.sh)."""
    for node in ast.walk(ast.parse(sources()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
            assigned = [one.value for one in node.body if isinstance(one, ast.Assign)]
            assert not [one for one in assigned if isinstance(one, ast.Name) and one.id in methods]


@pytest.mark.parametrize("module", MODULES)
def test_no_generator_is_compiled(module: str) -> None:
    """A dropped one would not run its `finally` (findings/mypyc-raise-from-and-a-dropped-generator.sh)."""
    tree = ast.parse(sources()[module].read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Yield | ast.YieldFrom)]


def test_master_has_loaded_no_module_that_its_workers_take_compiled(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; from app.compiled import MODULES; runpy.run_path('gunicorn.conf.py')\n"
        "import app.server.master, app.server.pid_file\n"
        "print([name for name in MODULES if name in sys.modules])"
    )
    environ = {**os.environ, "TRAFFIC_ROUTER_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_sources_run_where_they_are_wanted_and_where_they_were_edited(copy: Path, compiled: bool) -> None:
    assert run(copy, DESCRIBE) == ("compiled\n" if compiled else "pure Python\n")
    assert run(copy, DESCRIBE, TRAFFIC_ROUTER_PURE="0") == ("compiled\n" if compiled else "pure Python\n")
    assert run(copy, DESCRIBE, TRAFFIC_ROUTER_PURE="1") == "pure Python (TRAFFIC_ROUTER_PURE is set)\n"
    with (copy / "app" / "protocol" / "heads.py").open("a") as source:
        source.write("# a word\n")
    assert run(copy, DESCRIBE) == ("pure Python (compiled of other sources)\n" if compiled else "pure Python\n")
    shutil.rmtree(copy / "app" / "compiled" / "build", ignore_errors=True)
    assert run(copy, DESCRIBE) == "pure Python\n"


def test_constant_of_another_module_makes_it_void_too(copy: Path, compiled: bool) -> None:
    with (copy / "app" / "state" / "preview_token.py").open("a") as source:
        source.write("# a word\n")
    assert run(copy, DESCRIBE) == ("pure Python (compiled of other sources)\n" if compiled else "pure Python\n")


def imported(module: str) -> set[str]:
    """The modules of ours that a compiled one imports from."""
    tree = ast.parse(sources()[module].read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("module", MODULES)
def test_all_that_a_compiled_module_imports_is_in_the_digest(module: str) -> None:
    rooms = {name.split(".")[1] for name in imported(module) if name.startswith("app.")}
    assert rooms <= set(compiled_package._READ)


def test_taken_modules_are_compiled_and_the_others_are_not(copy: Path, compiled: bool) -> None:
    code = (
        "from app.compiled import MODULES, take; took = take({})\n"
        "import importlib, app.errors\n"
        "kinds = {importlib.import_module(name).__file__.rpartition('.')[2] for name in MODULES}\n"
        "print(took, kinds, app.errors.__file__)"
    )
    kind = "so" if compiled else "py"
    assert run(copy, code) == f"{compiled} {{'{kind}'}} {copy / 'app' / 'errors.py'}\n"


def test_missing_source_is_no_reason_to_fail(copy: Path) -> None:
    (copy / "app" / "server" / "lane.py").unlink()
    assert run(copy, "from app.compiled import take; print(take({}))") == "False\n"


def test_without_a_compiler_it_says_so(copy: Path) -> None:
    shutil.rmtree(copy / "app" / "compiled" / "build", ignore_errors=True)
    said = run(copy, "import sys; from app.compiled.build import main; sys.exit(main([]))", PATH="")
    assert said.startswith("Not compiled, so the router runs as plain Python: there is no C compiler")
    assert not (copy / "app" / "compiled" / "build").exists()


@pytest.mark.parametrize("is_pure", ["0", "1"])
def test_worker_says_which_form_it_runs(compiled: bool, upstream: RawUpstream, tmp_path: Path, is_pure: str) -> None:
    with running_router(tmp_path, upstream.port, pure=is_pure) as router:
        answer = router.ask(b"GET /__router_metrics?format=prometheus HTTP/1.1\r\nHost: x\r\n\r\n")
        form = "compiled" if compiled and is_pure == "0" else "pure"
        assert f'form="{form}"' in answer.body.decode()
        assert router.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
