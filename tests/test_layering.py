"""The one-way rule: a module imports only lower levels, and among equals its own package, without cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LEVELS = [
    # L0, pure: the words that everybody speaks, then the rules that are put in those words
    ["app.command_line"],
    ["app.withheld", "app.shell_text", "app.signed"],
    [
        *("app.errors", "app.operator_errors", "app.units", "app.address", "app.limits.rate", "app.log_fields"),
        "app.state.split",
        *("app.logins.algorithms", "app.redaction"),
    ],
    ["app.canary.course"],
    ["app.settings", "app.logins.refusals", "app.logins.login_figures", "app.fleet.fleet_store"],
    [
        *("app.state.model", "app.state.codec", "app.state.release", "app.state.preview_token", "app.state.instances"),
        "app.access",
    ],
    [
        "app.fleet.sight",
        "app.metrics.layout",
        "app.metrics.histogram",
        "app.metrics.backend_rows",
        "app.limits.limit_figures",
        "app.limits.limits_map",
        "app.limits.gcra",
    ],
    [
        *(
            "app.protocol",
            "app.state.given_up",
            "app.facts",
            "app.situation",
            "app.deploy.phases",
            "app.deploy.judge.judgement",
        ),
        *("app.metrics.snapshot", "app.metrics.exposition"),
    ],
    [f"app.logins.{name}" for name in ("remembered", "tokens", "identity", "claims")] + ["app.canary"],
    [f"app.fleet.{name}" for name in ("records", "fleet_view", "waves", "leading", "following")],
    # L1, adapters: one outside thing each
    ["app.installation", "app.setup"],
    [
        "app.settings.toml_file",
        "app.state",
        "app.transport",
        "app.whence",
        "app.event_file",
        "app.json_log",
        "app.compiled",
    ],
    ["app.upstream", "app.metrics", "app.compiled.build", "app.fleet.sight_file"],
    ["app.limits", "app.fleet.etcd", "app.fleet.etcd_gateway"],
    # L2, L3: the router, and the flows over it
    ["app.routing", "app.logins", "app.notices"],
    ["app.proxy", "app.deploy"],
    ["app.fleet"],
    # L4: web and worker
    ["app.survey"],
    ["app.health", "app.failover_history", "app.event_recorder", "app.dashboard"],
    ["app.web", "app.server"],
    # L5: entry points
    ["app.cli", "utils"],
]
"""Lowest first; a module belongs to the longest name here that it begins with."""

ROOMS = {
    "app.settings": [
        ["kinds"],
        ["engine"],
        ["checks", "commands", "declaration"],
        ["tables.hold_settings", "tables.log_settings"],
        [
            f"tables.{name}_settings"
            for name in ("router", "app", "deploy", "release", "backends", "canary", "fleet", "limit", "login")
        ],
        ["tables", "arrays"],
        ["loading"],
        ["toml_file"],
    ],
    "app.proxy": [
        ["client_request", "delays", "errand", "limited", "long_lived", "waiting_room", "replies.reply"],
        ["passage", "tape", "limit_keys"],
        ["sharing"],
        ["transaction"],
        ["request_log", "environ", "rewrite", "relay"],
        ["access_log", "exchange_record"],
        ["replies"],
        ["chain"],
        ["backend_queue"],
        ["filters", "sending"],
        ["forwarder"],
        ["exchange_recorder"],
        ["service"],
    ],
    "app.deploy": [
        ["phases", "traffic"],
        ["processes", "record"],
        ["judge.health_answers", "judge.judgement"],
        ["events"],
        ["judge.gate", "drain"],
        ["canary_plan"],
        ["plan"],
        ["deployment"],
        ["release", "plan_run", "conduct"],
        ["judge"],
        ["run"],
        ["rolling_out"],
        ["deployer", "modes", "pruning", "repair"],
        ["scaling", "ordering", "standby"],
        ["foreground_run"],
    ],
    "app.canary": [["outcomes", "course"], ["evidence"], ["rollout"], ["guards", "rollout_text"], ["policy"]],
    "app.routing": [
        ["circuit", "choosing"],
        ["targets"],
        ["roster"],
        ["backends"],
        ["target_maker"],
        ["router"],
        ["failover"],
        ["canary_guard"],
    ],
}
"""What lies in a large room, lowest first; on one line nobody knows the others."""

PURE_LEVELS = next(number for number, names in enumerate(LEVELS) if "app.fleet.records" in names) + 1
"""As many of the levels are L0."""

SELF_CONTAINED = ["app.demo", "app.deploy.processes.supervisor"]
"""They run as processes of their own and import nothing of the project."""

OUTSIDE = {
    *(
        "socket",
        "os",
        "sys",
        "io",
        "time",
        "datetime",
        "logging",
        "threading",
        "subprocess",
        "signal",
        "select",
    ),
    *("mmap", "fcntl", "tempfile", "random", "secrets", "psutil", "requests", "urllib3", "flask", "gevent"),
    *("gunicorn", "ssl", "http"),
}
"""What L0 must not touch."""


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    paths = [path for top in ("app", "utils") for path in sorted((ROOT / top).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


def imports(path: Path, *, at_runtime: bool = False) -> Iterator[str]:
    """The modules that the import statements of a file name, wherever they stand.

    `at_runtime` leaves out those under `if TYPE_CHECKING`.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    only_for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if at_runtime and node in only_for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module


def level(module: str) -> int | None:
    """The number of a module's level; None for the package `app` itself, which only states the version."""
    found = [
        (len(prefix), number)
        for number, prefixes in enumerate(LEVELS)
        for prefix in prefixes
        if module == prefix or module.startswith(prefix + ".")
    ]
    return max(found)[1] if found else None


def package(module: str) -> str:
    """What counts as one room among equals; the modules that lie in `app` itself are one."""
    return module.rpartition(".")[0] if module.count(".") == 1 else ".".join(module.split(".")[:2])


def ours(path: Path) -> Iterator[str]:
    """The project's modules that a file imports."""
    return (name for name in imports(path) if name.split(".")[0] in ("app", "utils") and name != "app")


PLACED = [name for name in MODULES if name != "app" and not name.startswith(tuple(SELF_CONTAINED))]


@pytest.mark.parametrize("module", PLACED)
def test_module_has_a_level(module: str) -> None:
    assert level(module) is not None, "say in LEVELS where it belongs"


@pytest.mark.parametrize("module", PLACED)
def test_module_imports_only_lower_levels_or_its_own_package(module: str) -> None:
    own = level(module)
    assert own is not None

    for name in ours(MODULES[module]):
        other = level(name)
        assert other is not None, f"{module} imports {name}, which has no level"
        assert other < own or (other == own and package(name) == package(module)), f"{module} imports {name}"


@pytest.mark.parametrize("module", [name for name in PLACED if (level(name) or 0) < PURE_LEVELS])
def test_pure_module_touches_nothing_outside(module: str) -> None:
    touched = {name.split(".")[0] for name in imports(MODULES[module])} & OUTSIDE

    assert not touched


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(tuple(SELF_CONTAINED))])
def test_self_contained_module_imports_nothing_of_the_project(module: str) -> None:
    allowed = tuple(SELF_CONTAINED)

    assert [name for name in ours(MODULES[module]) if not name.startswith(allowed)] == []


def place(room: str, module: str) -> tuple[int, str] | None:
    """The line of ROOMS that a module of a room is on, and its name there."""
    inner = module.removeprefix(room + ".")
    found = [
        (len(name), number, name)
        for number, names in enumerate(ROOMS[room])
        for name in names
        if inner == name or inner.startswith(name + ".")
    ]
    return max(found)[1:] if found else None


@pytest.mark.parametrize("module", [name for name in MODULES if name.rpartition(".")[0].startswith(tuple(ROOMS))])
def test_module_of_a_large_room_imports_only_what_is_below_it_there(module: str) -> None:
    room = next(room for room in ROOMS if module.startswith(room + "."))
    own = place(room, module)
    assert own is not None, "say in ROOMS where it belongs"
    for name in ours(MODULES[module]):
        if name.startswith(room + "."):
            other = place(room, name)
            assert other is not None and (other[1] == own[1] or other[0] < own[0]), f"{module} imports {name}"


def test_every_room_says_what_it_is_for() -> None:
    inits = [path for path in MODULES.values() if path.name == "__init__.py" and path.parent.name != "app"]
    assert [str(path) for path in inits if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_cycles() -> None:
    graph = {
        module: {name for name in imports(path, at_runtime=True) if name in MODULES and name not in ("app", module)}
        for module, path in MODULES.items()
        if module != "app"  # its one import, of the web application, happens on first use of `app.wsgi`
    }

    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("load", ["import app", "import runpy; runpy.run_path('gunicorn.conf.py')"])
def test_master_process_imports_nothing_that_gevent_patches_too_late(load: str) -> None:
    too_early = "{'requests', 'urllib3', 'gevent', 'ssl', 'flask'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {load}; print(sorted({too_early} & set(sys.modules)))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_no_class_and_no_module_has_its_name_twice() -> None:
    """One idea, one word; a search finds one thing."""
    classes, modules = dict[str, list[str]](), dict[str, list[str]]()
    for module, path in MODULES.items():
        if path.name != "__init__.py":
            modules.setdefault(path.stem, []).append(module)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(module)
    twice = {name: where for names in (classes, modules) for name, where in names.items() if len(where) > 1}
    # Signposts have the names that the documentation has.
    assert {name: where for name, where in twice.items() if not any(it.startswith("utils") for it in where)} == {}
