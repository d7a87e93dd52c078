"""The router's and the application's settings: documented defaults, checks, precedence."""

from __future__ import annotations

import re
import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.operator_errors import ConfigError
from app.settings.checks import is_release_name
from app.settings.engine import describe
from app.settings.loading import Loaded, load
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.settings.toml_file import load_settings, read_toml

ROOT = Path(__file__).resolve().parents[1]


def test_documented_options_have_the_documented_defaults() -> None:
    config = RouterConfig()

    assert config.main_port == 5004
    assert config.state_file == ".local_context/bg_state.json"
    assert config.read_timeout == 30
    assert config.connection_timeout == 5
    assert config.health_check_interval == 5
    assert config.metrics_enabled is True


def test_defaults_pass_their_own_checks() -> None:
    assert RouterConfig() == RouterConfig(**{f.name: getattr(RouterConfig(), f.name) for f in fields(RouterConfig)})
    assert AppConfig() == AppConfig(**{f.name: getattr(AppConfig(), f.name) for f in fields(AppConfig)})


def test_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RouterConfig().main_port = 1  # type: ignore[misc]  # that it is frozen is the point


def test_every_setting_is_explained() -> None:
    for cls in (RouterConfig, AppConfig):
        for name, about in describe(cls).items():
            assert about.help.endswith("."), name


def test_files_of_the_router_lie_beside_the_state_file() -> None:
    config = RouterConfig(state_file="/srv/state/bg.json")

    assert config.metrics_path == "/srv/state/router_metrics.mmap"
    assert config.pid_path == "/srv/state/router.pid"
    assert RouterConfig(metrics_file="/dev/shm/m").metrics_path == "/dev/shm/m"
    assert RouterConfig(metrics_file="/dev/shm/m").limits_path == "/dev/shm/router_limits.mmap"


GOOD: list[dict[str, Any]] = [
    {"bind": "::1"},
    {"bind": "localhost"},
    {"dashboard_path": ""},
    {"dashboard_path": "/ops/board"},
    {"admin_allow": ["10.1.2.3", "fd00::/8"]},
    {"via": "edge-1"},
    {"metrics_exclude": ("/ping", "/static/*")},
    {"upgrades": ()},
    {"upgrades": ("WebSocket", "chat/2.0")},
    {"response_timeout": 5, "connection_timeout": 5},
    {"access_log": "-"},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"main_port": 0}, "main_port = 0: expected a whole number from 1 to 65535"),
    ({"bind": "0.0.0.0:80"}, "without port"),
    ({"bind": "a b"}, "without port"),
    ({"bind": ""}, "without port"),
    ({"bind": "127.0.0.0/8"}, "without port"),
    ({"bind": "host..example"}, "without port"),
    ({"state_file": ""}, "a file's path"),
    ({"state_file": "state/"}, "a file's path"),
    ({"log_level": "loud"}, "one of debug, info"),
    ({"dashboard_path": "monitoring"}, "dashboard_path"),
    ({"dashboard_path": "/__router_health"}, "dashboard_path"),
    ({"dashboard_path": "//evil.example"}, "dashboard_path"),
    ({"dashboard_path": "/"}, "dashboard_path"),
    ({"dashboard_path": "/a b"}, "dashboard_path"),
    ({"admin_allow": ["10.1.2.3/8"]}, "no bits set beyond the prefix"),
    ({"admin_allow": ["home"]}, "admin_allow = home"),
    ({"via": "my edge"}, "a token"),
    ({"metrics_exclude": "ping"}, "paths that begin with /"),
    *(
        ({"upgrades": ["websocket", name]}, "HTTP and TLS, which would go on unread, are none")
        for name in ("h2c", "H2C", "HTTP/2.0", "http", "TLS/1.2", "a b", "", "/2", "chat/", "a/b/c")
    ),
    ({"response_timeout": 1}, "connection_timeout = 5.0, response_timeout = 1.0"),
    ({"max_client_connections": 20, "max_connections": 10}, "max_client_connections = 20"),
    ({"state_file": "x", "metrics_file": "x"}, "would overwrite the state file"),
    ({"state_file": "x", "access_log": "x"}, "written into the state file"),
]


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_usable_router_setting_is_taken(values: dict[str, Any]) -> None:
    config = RouterConfig(**values)

    for name, value in values.items():
        assert getattr(config, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(("values", "expected"), BAD, ids=[str(values) for values, _ in BAD])
def test_unusable_router_setting_is_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RouterConfig(**values)

    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"command": "run 'it"}, "its quotes closed"),
        ({"command": "run\0it"}, "its quotes closed"),
        ({"dir": ""}, "a directory's path"),
        ({"address": ""}, "this machine's loopback"),
        ({"address": "localhost"}, "this machine's loopback"),
        ({"address": "10.0.0.1"}, "this machine's loopback"),
        ({"address": "0.0.0.0"}, "this machine's loopback"),
        ({"address": "[::1]"}, "this machine's loopback"),
        ({"address": "::1%lo"}, "this machine's loopback"),
        ({"env": {"A=B": "c"}}, "a table of NAME = text"),
        ({"env": {"": "c"}}, "a table of NAME = text"),
        ({"health_path": "health"}, "begins with /"),
        ({"health_path": "/a\r\nX: y"}, "begins with /"),
        ({"health_host": "a\r\nb"}, "with or without a port"),
        ({"health_statuses": ""}, "such as 200-299"),
        ({"health_statuses": "2xx"}, "such as 200-299"),
        ({"health_statuses": "299-200"}, "such as 200-299"),
        ({"stop_signal": ""}, "one of TERM, INT, QUIT, HUP, USR1, USR2, WINCH"),
        ({"stop_signal": "SIGINT"}, "one of TERM, INT"),
        ({"stop_signal": "KILL"}, "one of TERM, INT"),
        ({"stop_signal": "15"}, "one of TERM, INT"),
        ({"health_timeout": 9, "start_timeout": 8}, "longer than the whole start"),
    ],
    ids=str,
)
def test_unusable_app_setting_is_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AppConfig(**values)

    assert expected in str(caught.value)


@pytest.mark.parametrize("host", ["", "shop.example", "shop.example:80", "[::1]:80"])
def test_health_host_may_carry_a_port(host: str) -> None:
    assert AppConfig(health_host=host).health_host == host


@pytest.mark.parametrize(
    ("statuses", "good", "bad"),
    [
        ("200-399", [200, 302, 399], [199, 400, 503]),
        ("204", [204], [200]),
        ("200-299, 401", [200, 299, 401], [300, 402]),
    ],
)
def test_expected_health_statuses(statuses: str, good: list[int], bad: list[int]) -> None:
    app = AppConfig(health_statuses=statuses)

    assert all(app.expects(status) for status in good)
    assert not any(app.expects(status) for status in bad)


def test_precedence_is_command_line_environment_file_default() -> None:
    loaded = load(
        {"main_port": "1001"},
        {"TRAFFIC_ROUTER_MAIN_PORT": "1002", "TRAFFIC_ROUTER_READ_TIMEOUT": "12"},
        {
            "main_port": 1003,
            "read_timeout": 13,
            "pool_size": 14,
            "router": {"max_fields": 15},
            "app": {"dir": "/srv"},
        },
    )

    config = loaded.config
    assert (config.main_port, config.read_timeout, config.pool_size, config.max_fields) == (1001, 12, 14, 15)
    assert loaded.app.dir == "/srv"
    assert loaded.sources["main_port"] == "command line"
    assert loaded.sources["read_timeout"] == "environment TRAFFIC_ROUTER_READ_TIMEOUT"
    assert loaded.sources["pool_size"] == "traffic_router.toml"
    assert loaded.sources["max_fields"] == "traffic_router.toml [router]"
    assert loaded.sources["app.dir"] == "traffic_router.toml [app]"
    assert loaded.sources["bind"] == "default"


def test_port_variable_sets_the_main_port_unless_the_prefixed_one_does() -> None:
    assert load({}, {"PORT": "8000"}, {}).config.main_port == 8000
    assert load({}, {"PORT": "8000", "TRAFFIC_ROUTER_MAIN_PORT": "9000"}, {}).config.main_port == 9000


def test_faults_of_all_layers_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            {"main_port": "x"},
            {"TRAFFIC_ROUTER_BINT": "1", "TRAFFIC_ROUTER_HOME": "/srv"},
            {"router": 5, "ap": {}, "pol_size": 1, "app": {"comand": "x", "healthy_after": 0}},
        )

    assert str(caught.value).splitlines() == [
        "7 settings are not usable:",
        "  router = 5: expected a table (traffic_router.toml)",
        "  [ap]: no such setting; did you mean [app]? (traffic_router.toml)",
        "  TRAFFIC_ROUTER_BINT: no such setting; did you mean TRAFFIC_ROUTER_BIND? (environment)",
        "  pol_size: no such setting; did you mean pool_size? (traffic_router.toml)",
        "  comand: no such setting; did you mean command? (traffic_router.toml [app])",
        "  main_port = x: expected a whole number from 1 to 65535 (command line)",
        "  healthy_after = 0: expected a whole number from 1 to 100 (traffic_router.toml [app])",
    ]


def test_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert read_toml(tmp_path / "none.toml") == {}


@pytest.mark.parametrize("content", [b"main_port = ", b"main_port = '\xff'"])
def test_file_that_is_no_toml_is_a_configuration_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "traffic_router.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="cannot be used"):
        read_toml(path)


def test_folder_in_place_of_the_file_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        read_toml(tmp_path)


def test_settings_of_a_process_come_from_its_environment_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "traffic_router.toml").write_text("pool_size = 7\nmain_port = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAFFIC_ROUTER_MAIN_PORT", "8")
    monkeypatch.delenv("PORT", raising=False)

    loaded = load_settings({"bind": "::1"})

    assert (loaded.config.pool_size, loaded.config.main_port, loaded.config.bind) == (7, 8, "::1")


def test_version_is_the_same_wherever_it_is_stated() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == __version__


@pytest.mark.parametrize(
    "dir_",
    ["/srv/releases", "releases/{release}/app", "{release}/{release}", "{version}/{release}", "{release}{release}"],
)
def test_release_dir_needs_one_place_for_the_release_in_its_last_part(dir_: str) -> None:
    with pytest.raises(ConfigError, match="a path whose last part has {release} in it"):
        load({}, {}, {"release": {"dir": dir_}})


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"release": {"dir": "releases/{release}", "current": "releases/current"}}, "taken for one"),
        ({"release": {"prune": True}}, "nobody knows what a release is"),
        ({"release": {"keep": 0}}, "from 1 to 1000"),
        ({"release": {"current": "current/"}}, "a link's path"),
        ({"release": {"dir": "r/{release}"}, "app": {"dir": "/srv/shop"}}, "expected a place inside the release"),
        ({"release": {"dir": "r/{release}"}, "app": {"dir": "../shared"}}, "expected a place inside the release"),
        ({"release": {"direct": "r/{release}"}}, "did you mean dir"),
    ],
    ids=["link among releases", "prune", "keep", "current", "absolute dir", "dir outside", "unknown"],
)
def test_unusable_release_setting_is_refused(tables: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load({}, {}, tables)


def test_the_command_runs_inside_the_directory_of_the_release() -> None:
    tables = {"release": {"dir": "/srv/releases/{release}"}}
    assert load({}, {}, tables).app.dir == "/srv/releases/{release}"
    assert load({}, {}, {**tables, "app": {"dir": "backend"}}).app.dir == "/srv/releases/{release}/backend"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ({"app": {"blue_port": 7001, "green_port": 7001}}, "two versions cannot share a port"),
        ({"app": {"green_port": 5005}}, "two versions cannot share a port"),
        ({"app": {"blue_port": 5004}}, "main_port = 5004, [app] blue_port = 5004: the router listens there"),
        ({"main_port": 7006, "app": {"green_port": 7006}}, "[app] green_port = 7006: the router listens there"),
    ],
)
def test_ports_that_meet_are_refused(toml: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load({}, {}, toml)


def test_a_default_port_gives_way_to_the_state_file() -> None:
    assert load({"main_port": "5005"}, {}, {}).app.ports == {"blue": 5005, "green": 5006}


@pytest.mark.parametrize(
    ("text", "is_one"), [("r42", True), ("", False), (".r", False), ("-r", False), ("a/b", False), ("é" * 101, False)]
)
def test_names_of_releases_that_may_have_a_directory(text: str, is_one: bool) -> None:
    assert is_release_name(text) == is_one


def test_router_listens_where_clients_and_operators_ask() -> None:
    assert RouterConfig(bind="::1", main_port=80).listens_at == ["[::1]:80"]
    config = RouterConfig(bind="127.0.0.1", main_port=80, admin_bind="127.0.0.1:81")
    assert config.listens_at == ["127.0.0.1:80", "127.0.0.1:81"]


def test_settings_of_the_router_can_be_replaced_by_a_program() -> None:
    loaded = Loaded.just(RouterConfig(main_port=80)).with_router(read_timeout=3.0)
    assert (loaded.config.main_port, loaded.config.read_timeout) == (80, 3.0)


def test_changes_name_what_has_become_another_but_no_secret() -> None:
    before = load({}, {}, {"read_timeout": 30, "app": {"dir": "/srv/a"}})
    after = load({}, {}, {"read_timeout": 5, "admin_token": "a-new-token-for-all", "app": {"dir": "/srv/b"}})

    assert after.changes_since(before) == ["read_timeout = 30 → 5", "admin_token", "app.dir = /srv/a → /srv/b"]
    assert after.changes_since(after) == []
