"""Which application lies in a directory, and how it is served; read from its files, none of which is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Application", "find"]


@dataclass(frozen=True)
class Application:
    """What was found.

    Attributes:
        name: of the kind, as people call it; "" for none.
        command: as `[app] command` takes it; "" where it cannot be known.
        stop_signal: what its server finishes its requests on.
        because: what says so, in words.
        doubts: what somebody has to look at, in words.
    """

    name: str
    command: str
    stop_signal: str = "TERM"
    because: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class _Server(NamedTuple):
    """A server, with the words that docs/how-to/choose-a-server.md has for it."""

    program: str
    arguments: str
    serves: tuple[str, ...]
    stop_signal: str = "TERM"
    package: str = ""


_SERVERS: Final = (
    _Server("gunicorn", "--bind 127.0.0.1:{port} --workers 4 --graceful-timeout 30", ("wsgi",)),
    _Server(
        "uvicorn", "--host 127.0.0.1 --port {port} --timeout-keep-alive 75 --timeout-graceful-shutdown 30", ("asgi",)
    ),
    _Server("hypercorn", "--bind 127.0.0.1:{port} --workers 0 --keep-alive 75 --graceful-timeout 30", ("asgi",)),
    _Server(
        "granian",
        "--interface asgi --host 127.0.0.1 --port {port} --workers 2 --http1-header-read-timeout 60000",
        ("asgi",),
    ),
    _Server(
        "waitress-serve",
        "--listen=127.0.0.1:{port} --threads=8 --channel-timeout=120",
        ("wsgi",),
        stop_signal="INT",
        package="waitress",
    ),
)
"""Those that are looked for, the first one first."""

_FRAMEWORKS: Final = {"Flask": "wsgi", "FastAPI": "asgi", "Starlette": "asgi", "Quart": "asgi"}
"""The class that an application is an object of, and how it is served."""

_VENVS = (".venv", "venv", "env")
_LISTS = ("requirements*.txt", "requirements/*.txt", "pyproject.toml", "Pipfile")
_SKIPPED = {"tests", "test", "node_modules", "migrations", "build", "dist"}
_LARGEST_BYTES = 1 << 20


class _Entry(NamedTuple):
    """Where the application object is: `module:name`, in what, and how it is served."""

    framework: str
    target: str
    serves: str
    because: str
    doubt: str = ""


def find(folder: Path) -> Application:
    """The application in `folder`: what its Procfile says, else Django, else what a module makes. Raises OSError."""
    said = _from_procfile(folder)
    if said is not None:
        return said
    entry = _django(folder) or _object_in(folder)
    if entry is None:
        return Application("", "", doubts=("no Procfile, no manage.py, and no module that makes an application",))
    doubts = [entry.doubt] if entry.doubt else []
    found = _server_for(folder, entry.serves)
    if found is None:
        server = next(each for each in _SERVERS if entry.serves in each.serves)
        program, why = f".venv/bin/{server.program}", f"no server for {entry.serves.upper()} is named anywhere"
        doubts.append(f"{why}; install {server.program}, or write the one that you use")
    else:
        server, program, why = found
        if not (folder / program).exists():
            doubts.append(f"{program} is not there yet: {why}")
    # A factory is called by its own word: gunicorn has parentheses, uvicorn an option.
    target = entry.target
    if target.endswith("()") and server.program != "gunicorn":
        target = target.removesuffix("()")
        if server.program == "waitress-serve":
            target = f"--call {target}"
        elif server.program in ("uvicorn", "granian"):
            target = f"--factory {target}"
        else:
            doubts.append(f"{entry.target} is a factory, for which {server.program} has no option")
    command = f"{program} {server.arguments} {target}"
    return Application(entry.framework, command, server.stop_signal, (entry.because, why), tuple(doubts))


# --- what says it -------------------------------------------------------------------------------------------


def _from_procfile(folder: Path) -> Application | None:
    """The `web:` line, with the port that the router gives."""
    web = re.search(r"^web:[ \t]*(\S.*)$", _text(folder / "Procfile"), re.MULTILINE)
    if web is None or re.search(r"\btraffic_router\b|gunicorn\.conf\.py app:wsgi", web[1]):
        return None  # what it starts is the router
    command, count = re.subn(r"\$\{PORT(?::-\d+)?\}|\$PORT\b", "{port}", web[1].strip())
    doubts = (
        () if count else ("the line has no $PORT, so where does it listen? {port} must be in it, or $PORT be read",)
    )
    return Application("Procfile", command, "TERM", ("Procfile: web",), doubts)


def _django(folder: Path) -> _Entry | None:
    if "DJANGO_SETTINGS_MODULE" not in _text(folder / "manage.py"):
        return None
    for serves in ("wsgi", "asgi"):
        for path in sorted(folder.glob(f"*/{serves}.py")):
            package = path.parent.name
            if f"get_{serves}_application" in _text(path):
                because = f"manage.py and {package}/{serves}.py"
                return _Entry("Django", f"{package}.{serves}:application", serves, because)
    return None


def _object_in(folder: Path) -> _Entry | None:
    """The object that a module makes of a framework's class, or the factory that it has; the likeliest module first."""
    factories = []
    for path in sorted(_modules(folder), key=lambda path: _likelihood(path.relative_to(folder))):
        try:
            tree = ast.parse(_text(path))
        except (SyntaxError, ValueError):  # of another Python, or none at all
            continue
        module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        name = str(path.relative_to(folder))
        for framework, target in _made_in(tree):
            return _Entry(framework, f"{module}:{target}", _FRAMEWORKS[framework], f"{name} makes `{target}`")
        factories += [
            _Entry(framework, f"{module}:create_app()", _FRAMEWORKS[framework], f"{name} has create_app()")
            for framework in _factory_in(tree)
        ]
    return factories[0] if factories else None


def _modules(folder: Path) -> Iterator[Path]:
    """The modules at the top, and those one and two packages below."""
    for pattern in ("*.py", "*/*.py", "*/*/*.py"):
        for path in folder.glob(pattern):
            parts = path.relative_to(folder).parts
            is_own = not any(part in _SKIPPED or part in _VENVS or part.startswith(".") for part in parts[:-1])
            if is_own and not parts[-1].startswith("test_"):
                yield path


def _likelihood(path: Path) -> tuple[int, int, str]:
    names = ("wsgi", "asgi", "app", "main", "application", "server", "__init__")
    return len(path.parts), names.index(path.stem) if path.stem in names else len(names), str(path)


def _made_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Framework and name of each object that the module itself makes."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        framework = _class_called(value)
        for target in targets:
            if framework and isinstance(target, ast.Name):
                yield framework, target.id


def _factory_in(tree: ast.Module) -> Iterator[str]:
    """The framework whose class a function `create_app` calls, if it can be called without arguments."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "create_app":
            required = len(node.args.args) - len(node.args.defaults)
            made = [found for inner in ast.walk(node) if (found := _class_called(inner))]
            if made and not required:
                yield made[0]


def _class_called(node: ast.AST | None) -> str:
    """The framework whose class the expression calls; "" for any other."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name if name in _FRAMEWORKS else ""


# --- which server -------------------------------------------------------------------------------------------


def _server_for(folder: Path, serves: str) -> tuple[_Server, str, str] | None:
    """The server, its program as a path from `folder`, and what says so."""
    fitting = [server for server in _SERVERS if serves in server.serves]
    for venv in _VENVS:
        for server in fitting:
            if (folder / venv / "bin" / server.program).exists():
                return server, f"{venv}/bin/{server.program}", f"{server.program} is in {venv}"
    venv = next((name for name in _VENVS if (folder / name / "bin").is_dir()), ".venv")
    for pattern in _LISTS:
        for path in sorted(folder.glob(pattern)):
            for server in fitting:
                if re.search(rf"^[\s\"']*{server.package or server.program}\b", _text(path), re.MULTILINE):
                    why = f"{path.relative_to(folder)} names {server.package or server.program}"
                    return server, f"{venv}/bin/{server.program}", why
    return None


def _text(path: Path) -> str:
    """What is in a file; "" for one that is not there, is none or is too large to be what is looked for."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
