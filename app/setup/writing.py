"""The texts that `init` writes: settings, a Procfile, units of systemd."""

from __future__ import annotations

import json
import re
from pathlib import Path

from app.setup.finding import Application

__all__ = ["procfile", "settings", "units"]

UNITS = ("traffic-router.service", "traffic-router-blue.service", "traffic-router-green.service")


def settings(found: Application, folder: str) -> str:
    """A commented `traffic_router.toml` for what was found.

    `folder` is where the application is, as a path that the settings' own place can use; "" where it is the same one.
    """
    command = found.command or ".venv/bin/gunicorn --bind 127.0.0.1:{port} --workers 4 --graceful-timeout 30 shop:app"
    signal = "" if found.stop_signal == "TERM" else f'stop_signal = "{found.stop_signal}"'
    lines = [
        "# Settings of Traffic Router. What is in effect, and where it came from, shows: traffic_router config",
        "",
        "# main_port = 5004",
        '# access_log = ".local_context/access.jsonl"',
        "# forwarded_hops = 1                  # with one proxy, such as nginx, in front",
        "",
        "[app]",
        *(f"# {reason}" for reason in found.because),
        *(f"# ? {doubt}" for doubt in found.doubts),
        "# Started without a shell. {port}, {version} and {release} are filled in; $PORT is in its environment.",
        f"{'' if found.command else '# '}command = {_toml(command)}",
        f"dir = {_toml(folder)}" if folder else '# dir = "/srv/shop/{release}"         # a directory for each release',
        "# ? Any path that is answered with 200 to 399 when all is well, best one that asks the database.",
        'health_path = "/"',
        *([signal] if signal else []),
        'stop_timeout = "35s"                  # longer than the server\'s own limit',
        '# start_timeout = "30s"               # healthy within this time, or the start has failed',
        '# env = { DATABASE_URL = "postgresql:///shop" }',
        '# env_file = "/etc/shop/shop.env"     # mode 0600; in it NAME=value, one a line',
        "",
        "# [deploy]",
        '# before = [".venv/bin/python manage.py migrate"]',
        '# smoke = ["curl -fsS http://127.0.0.1:{port}/"]',
    ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """A text of TOML, which is one of JSON as well."""
    return json.dumps(text, ensure_ascii=False)


def procfile(commands: Path) -> str:
    """A Procfile with the router and one version; `commands` is the folder with our two."""
    return f"web: {commands}/traffic_router start\nblue: {commands}/blue_green_deploy run blue\n"


def units(templates: Path, home: Path, commands: Path, user: str) -> dict[str, str]:
    """The units by name, made of the documented ones, for this home and this user. Raises OSError."""
    return {name: _fitted((templates / name).read_text(encoding="utf-8"), home, commands, user) for name in UNITS}


def _fitted(unit: str, home: Path, commands: Path, user: str) -> str:
    unit = re.sub(r"/usr/bin/python3 /opt/traffic-router/bin/", f"{commands}/", unit)
    unit = unit.replace("/opt/traffic-router/bin/", f"{commands}/").replace("/opt/traffic-router", str(home))
    unit = re.sub(r"^(User|Group)=.*$", rf"\1={user}", unit, flags=re.MULTILINE)
    unit = re.sub(r"^Documentation=.*\n", "", unit, flags=re.MULTILINE)
    return re.sub(r"^WorkingDirectory=.*$", rf"\g<0>\nEnvironment=TRAFFIC_ROUTER_HOME={home}", unit, flags=re.MULTILINE)
