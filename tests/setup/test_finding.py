"""What `init` takes for the application of a directory, and how it would serve it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from app.setup.finding import find
from app.setup.writing import settings

FLASK = "import flask\nserver: flask.Flask = flask.Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app(config=None):\n    app = Flask(__name__)\n    return app\n"
API = "from fastapi import FastAPI\napi = FastAPI()\n"
DJANGO = {
    "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n',
    "shop/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "shop/asgi.py": "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
}
GUNICORN, UVICORN = {".venv/bin/gunicorn": ""}, {"venv/bin/uvicorn": ""}


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "name", "command"),
    [
        ({"shop.py": FLASK, **GUNICORN}, "Flask", ".venv/bin/gunicorn --bind 127.0.0.1:{port} --workers 4 "
            "--graceful-timeout 30 shop:server"),
        ({"shop/__init__.py": FACTORY, **GUNICORN}, "Flask", ".venv/bin/gunicorn --bind 127.0.0.1:{port} --workers 4 "
            "--graceful-timeout 30 shop:create_app()"),
        ({"a.py": FLASK, "wsgi.py": FLASK, **GUNICORN}, "Flask", ".venv/bin/gunicorn --bind 127.0.0.1:{port} "
            "--workers 4 --graceful-timeout 30 wsgi:server"),
        ({"src/main.py": API, **UVICORN}, "FastAPI", "venv/bin/uvicorn --host 127.0.0.1 --port {port} "
            "--timeout-keep-alive 75 --timeout-graceful-shutdown 30 src.main:api"),
        ({**DJANGO, **GUNICORN}, "Django", ".venv/bin/gunicorn --bind 127.0.0.1:{port} --workers 4 "
            "--graceful-timeout 30 shop.wsgi:application"),
        ({"app.py": FLASK, "requirements.txt": "Flask==3.1\nwaitress>=3\n"}, "Flask", ".venv/bin/waitress-serve "
            "--listen=127.0.0.1:{port} --threads=8 --channel-timeout=120 app:server"),
        ({"Procfile": "worker: x\nweb: gunicorn -b :$PORT shop:app\n"}, "Procfile", "gunicorn -b :{port} shop:app"),
        ({"Procfile": "web: gunicorn -b :${PORT:-8000} shop:app\n"}, "Procfile", "gunicorn -b :{port} shop:app"),
        ({"Procfile": "web: bin/traffic_router start\n", "shop.py": FLASK, **GUNICORN}, "Flask",
            ".venv/bin/gunicorn --bind 127.0.0.1:{port} --workers 4 --graceful-timeout 30 shop:server"),
        ({"tests/app.py": FLASK, ".venv/lib/x.py": FLASK, "broken.py": "def (", "big.py": "#" * (2 << 20)}, "", ""),
    ],
    ids=["flask", "factory", "likeliest", "fastapi", "django", "listed", "procfile", "default", "ours", "nothing"],
)  # fmt: skip
def test_application_is_found(tmp_path: Path, files: dict[str, str], name: str, command: str) -> None:
    found = find(tree(tmp_path, files))
    assert (found.name, found.command) == (name, command)


@pytest.mark.parametrize(
    ("files", "doubt"),
    [
        ({"app.py": FLASK}, "no server for WSGI is named anywhere"),
        ({"app.py": API, "requirements/base.txt": "uvicorn\n"}, ".venv/bin/uvicorn is not there yet"),
        ({"Procfile": "web: ./serve\n"}, "the line has no $PORT"),
        ({}, "no Procfile, no manage.py"),
    ],
    ids=["no-server", "not-installed", "no-port", "nothing"],
)
def test_doubts_are_told(tmp_path: Path, files: dict[str, str], doubt: str) -> None:
    found = find(tree(tmp_path, files))
    assert any(doubt in said for said in found.doubts)
    assert f"# ? {found.doubts[0]}" in settings(found, "")


def test_waitress_has_its_own_signal_and_every_text_is_valid(tmp_path: Path) -> None:
    found = find(tree(tmp_path, {"app.py": FACTORY, "pyproject.toml": 'dependencies = [\n  "waitress",\n]\n'}))
    read = tomllib.loads(settings(found, 'C:\\odd "folder"'))["app"]
    assert read["stop_signal"] == "INT" and read["dir"] == 'C:\\odd "folder"'
    assert read["command"].endswith(" --call app:create_app")
    assert "command" not in tomllib.loads(settings(find(tmp_path / "app.py"), ""))["app"]
