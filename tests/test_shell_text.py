"""Commands that want a shell are recognised, and a program takes the place of the shell that it is started by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.operator_errors import ConfigError
from app.settings.loading import load
from app.shell_text import by_shell, idiom_in

IDIOMS = {
    "gunicorn --bind 127.0.0.1:$PORT app": "$PORT, which nobody fills in: write {port}",
    "gunicorn --bind 127.0.0.1:${PORT:-8000} app": "$PORT, which nobody fills in: write {port}",
    'gunicorn --bind "127.0.0.1:${PORT}" app': "$PORT, which nobody fills in: write {port}",
    "serve --name=$BG_RELEASE": "$BG_RELEASE, which nobody fills in: write {release}",
    "serve --url $DATABASE_URL": "$DATABASE_URL, which nobody fills in: put its value there",
    "cd /srv/shop && gunicorn app": "`cd`, which is no program: [app] dir",
    "source .venv/bin/activate && gunicorn app": "`source`, which is no program: name the program by its path",
    ". .venv/bin/activate; gunicorn app": "`.`, which is no program",
    "exec gunicorn app": "`exec`, which is no program: leave it out",
    "export A=1": "`export`, which is no program",
    "SECRET=hunter gunicorn app": "SECRET=… before the program: [app] env has variables, or begin with `env SECRET=…`",
    "migrate && gunicorn app": "`&&` or `||`",
    "migrate; gunicorn app": "`;` between commands",
    "migrate ; gunicorn app": "`;` between commands",
    "gunicorn app | tee log": "a pipe",
    "gunicorn app > log": "a redirection",
    "gunicorn app >>log 2>&1": "a redirection",
    "gunicorn app 2>/dev/null": "a redirection",
    "gunicorn app &": "`&`, to go on without waiting",
    "serve --pid $(cat pid)": "a command in a command",
    "serve --host `hostname`": "a command in a command",
    "~/venv/bin/gunicorn app": "`~`",
    "serve static/*": "`*`",
    "serve */static": "`*`",
}

NONE = [
    "gunicorn --bind 127.0.0.1:{port} 'app:create_app()'",
    "gunicorn app:create_app()",
    "uvicorn app:app --forwarded-allow-ips=* --forwarded-allow-ips *",
    "curl -f http://127.0.0.1:{port}/a?x=1&y=2",
    "curl -f http://[::1]:{port}/",
    "sh -c 'cd x && echo $PORT > log | true'",
    'sh -c "echo $PORT"',
    'bash -lc "$X"',
    "python -c \"print('$PORT')\"",
    'serve "a text with $PORT in it"',
    "serve --price=$5 --pattern=^x$",
    "serve --route='*/x' --message='a; b'",
    "serve --filter=a|b --format={name}<{port}>",
    "serve \\$PORT a\\;",
    "serve --allow=/api/*",
    "env A=1 serve",
    "serve A=1",
    "serve -c config.d/a.py",
    "/opt/my\\ app/serve",
    "",
]


@pytest.mark.parametrize("command", IDIOMS)
def test_what_only_a_shell_understands_is_named_with_what_to_write(command: str) -> None:
    assert IDIOMS[command] in idiom_in(command)
    assert "hunter" not in idiom_in(command)


@pytest.mark.parametrize("command", NONE)
def test_what_is_an_argument_as_it_stands_is_left_alone(command: str) -> None:
    assert idiom_in(command) == ""


@pytest.mark.parametrize("table", ["command", "before", "smoke", "post", "rollback"])
def test_a_command_that_wants_a_shell_is_refused_where_it_is_set(table: str) -> None:
    where = "app" if table == "command" else "deploy"
    with pytest.raises(ConfigError, match=rf"\[{where}\] {table} has a pipe"):
        load({}, {}, {where: {table: "a | b"}})
    load({}, {}, {where: {table: "a | b", "shell": True}})


def test_a_list_of_words_is_one_command_and_needs_no_quotes() -> None:
    words = ["serve", "--port={port}", "a b", "$X | y", ""]
    loaded = load({}, {}, {"app": {"command": words}, "deploy": {"smoke": [words, "true"], "post": "a b"}})
    assert loaded.app.command == "serve '--port={port}' 'a b' '$X | y' ''"
    assert loaded.deploy.smoke == (loaded.app.command, "true")
    assert loaded.deploy.post == ("a b",)
    with pytest.raises(ConfigError, match="command = serve, 1: expected a command"):
        load({}, {}, {"app": {"command": ["serve", 1]}})


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("serve --port {port}", "exec serve --port {port}"),
        ("cd x && serve", "cd x && exec serve"),
        ("a; b || serve 'x; y'", "a; b || exec serve 'x; y'"),
        ("A=1 B='x y' serve > log 2>&1", "A=1 B='x y' exec serve > log 2>&1"),
        *((same, same) for same in ("serve | tee log", "serve &", "(cd x && serve)", "if a; then b; fi")),
        *((same, same) for same in ("exec serve", "cd x", "A=1", "a && { b; }", "a\nb", "serve <<EOF", "A=$(b) serve")),
    ],
)
def test_the_last_program_takes_the_place_of_the_shell(command: str, given: str) -> None:
    assert by_shell(command) == ("/bin/sh", "-c", given)


def test_a_signal_to_the_first_process_reaches_the_program(tmp_path: Path) -> None:
    code = "signal.signal(15, lambda *_: sys.exit(7)); print(os.getpid(), flush=True); signal.pause()"
    (tmp_path / "code.py").write_text(f"import os, signal, sys\n{code}\n")
    words = by_shell(f"cd {tmp_path} && X=1 {sys.executable} -I -S code.py 2>/dev/null")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 7
