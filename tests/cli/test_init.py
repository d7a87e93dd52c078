"""`traffic_router init`: writes what runs, shows it, and overwrites nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.environment import own_environment
from tests.support.router_process import ROOT, free_port

VIEW = "@%s.get('/')\ndef hi():\n    return '%s'\n"
APPLICATIONS = {
    "flask": {"app.py": "from flask import Flask\napp = Flask(__name__)\n" + VIEW % ("app", "flask")},
    "fastapi": {"main.py": "from fastapi import FastAPI\napi = FastAPI()\n" + VIEW % ("api", "fastapi")},
    "django": {
        "manage.py": "# DJANGO_SETTINGS_MODULE\n",
        "shop/__init__.py": "",
        "shop/settings.py": "SECRET_KEY = 'x'\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'shop.urls'\n",
        "shop/urls.py": "from django.http import HttpResponse\nfrom django.urls import path\n"
        "urlpatterns = [path('', lambda request: HttpResponse('django'))]\n",
        "shop/wsgi.py": "import os\nfrom django.core.wsgi import get_wsgi_application\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\napplication = get_wsgi_application()\n",
    },
}  # fmt: skip


def call(home: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**own_environment(), "TRAFFIC_ROUTER_HOME": str(home)}
    command = [sys.executable, str(ROOT / "bin" / program), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def make(home: Path, kind: str) -> Path:
    for name, text in APPLICATIONS[kind].items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    (home / ".venv").symlink_to(Path(sys.prefix))
    return home


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_version_starts_by_what_was_written(tmp_path: Path, kind: str) -> None:
    home = make(tmp_path, kind)
    done = call(home, "traffic_router", "init")
    assert done.returncode == 0, done.stdout + done.stderr
    assert kind in done.stdout.lower() and "traffic_router.toml is written" in done.stdout
    assert call(home, "traffic_router", "config").returncode == 0
    port = free_port()
    written = (home / "traffic_router.toml").read_text()
    (home / "traffic_router.toml").write_text(written.replace("[app]\n", f"[app]\nblue_port = {port}\n"))
    started = call(home, "blue_green_deploy", "start", "blue")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert kind in answer.read().decode()
    finally:
        assert call(home, "blue_green_deploy", "stop", "blue", "--force").returncode == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    home = make(tmp_path, "flask")
    (home / "traffic_router.toml").write_text("this is = not [ toml\n")
    done = call(home, "traffic_router", "init", "--procfile", "--systemd")
    assert done.returncode == 1
    assert "traffic_router.toml is there already" in done.stdout and "app:app" in done.stdout
    assert (home / "traffic_router.toml").read_text() == "this is = not [ toml\n"
    assert "blue_green_deploy run blue" in (home / "Procfile").read_text()
    unit = (home / "systemd" / "traffic-router-blue.service").read_text()
    assert f"TRAFFIC_ROUTER_HOME={home}" in unit and "/opt/traffic-router" not in unit


def test_dry_run_writes_nothing_and_json_is_for_programs(tmp_path: Path) -> None:
    home = make(tmp_path, "fastapi")
    before = sorted(home.iterdir())
    found = json.loads(call(home, "traffic_router", "init", "--dry-run", "--json").stdout)
    assert found["found"]["name"] == "FastAPI"
    assert [(file["path"], file["outcome"]) for file in found["files"]] == [("traffic_router.toml", "would be written")]
    assert sorted(home.iterdir()) == before


def test_application_elsewhere_and_one_that_is_nowhere(tmp_path: Path) -> None:
    home, shop = tmp_path / "home", tmp_path / "shop"
    home.mkdir()
    shop.mkdir()
    make(shop, "flask")
    assert call(home, "traffic_router", "init", f"--dir={shop}").returncode == 0
    assert f'dir = "{shop}"' in (home / "traffic_router.toml").read_text()
    missing = call(home, "traffic_router", "init", "--dir=/nowhere/at/all")
    assert missing.returncode == 2 and "there is no such directory" in missing.stderr
