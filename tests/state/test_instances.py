"""The processes of a version: what they are called, and where they and others listen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.address import Address
from app.operator_errors import ConfigError
from app.settings.loading import load
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.backends_settings import BackendsConfig
from app.state.instances import (
    addresses_for,
    all_of,
    count_of,
    name_in,
    name_of,
    number_of,
    one_of,
    recorded,
    socket_of,
)
from app.state.listening import places
from app.state.model import VersionState

BLUE = VersionState("blue", 5005, pid=7, pid_birth="b")
THREE = replace(BLUE, instances=("127.0.0.1:5005", "127.0.0.1:5015", "127.0.0.1:5025"))


def test_names_are_told_by_their_number() -> None:
    assert [name_of("blue", number) for number in (1, 2, 16)] == ["blue", "blue.2", "blue.16"]
    assert [number_of(name) for name in ("blue", "blue.2", "blue.x")] == [("blue", 1), ("blue", 2), ("blue", 1)]


def test_name_of_a_process_is_in_its_environment() -> None:
    told: tuple[dict[str, str], ...] = (
        {},
        {"BG_VERSION": "blue"},
        {"BG_VERSION": "blue", "BG_INSTANCE": "2"},
        {"BG_INSTANCE": "x"},
    )
    assert [name_in(environ) for environ in told] == ["", "blue", "blue.2", ""]


def test_each_process_is_a_version_of_its_own_for_the_process_table() -> None:
    first, second, third = all_of(THREE)
    assert (first.name, first.port, first.pid) == ("blue", 5005, 7)
    assert (second.name, second.port, second.pid) == ("blue.2", 5015, None)
    assert (third.name, third.instances) == ("blue.3", ())
    assert count_of(BLUE) == 1 and all_of(BLUE) == (BLUE,)


def test_a_process_that_the_state_does_not_list_has_a_name_all_the_same() -> None:
    assert one_of(THREE, 4).name == "blue.4"
    assert one_of(replace(BLUE, instances=("unix:/run/blue.1.sock",)), 1).port == 5005


def test_path_of_a_socket_is_told() -> None:
    assert [socket_of(replace(BLUE, instances=("unix:/run/blue.1.sock",)), number) for number in (1, 2)] == [
        "/run/blue.1.sock",
        "",
    ]
    assert socket_of(THREE, 2) == ""


def test_addresses_follow_the_settings() -> None:
    assert addresses_for(BLUE, 3, AppConfig(), "/x") == tuple(map(Address.parse, THREE.instances))
    found = addresses_for(BLUE, 2, AppConfig(bind="unix"), "/x")
    assert found == (Address("/x/run/blue.1.sock"), Address("/x/run/blue.2.sock"))
    with pytest.raises(ValueError, match="at most 107 bytes"):
        addresses_for(BLUE, 1, AppConfig(bind="unix"), "/" + 100 * "x")


def test_one_process_on_the_port_is_not_listed() -> None:
    assert recorded((Address("127.0.0.1", 5005),)) == ()
    assert recorded((Address("/x.sock"),)) == ("unix:/x.sock",)
    assert recorded(tuple(map(Address.parse, THREE.instances))) == THREE.instances


@pytest.mark.parametrize(
    ("version", "settings", "found"),
    [
        (BLUE, BackendsConfig(), ["127.0.0.1:5005"]),
        (THREE, BackendsConfig(), ["127.0.0.1:5005", "127.0.0.1:5015", "127.0.0.1:5025"]),
        (THREE, BackendsConfig(blue=("10.0.0.1:80",)), ["10.0.0.1:80"]),
        (replace(THREE, backends=("10.0.0.2:80",)), BackendsConfig(blue=("10.0.0.1:80",)), ["10.0.0.2:80"]),
    ],
    ids=["port", "instances", "settings of others", "state of others"],
)
def test_where_a_version_listens(version: VersionState, settings: BackendsConfig, found: list[str]) -> None:
    assert [str(backend.address) for backend in places(version, "127.0.0.1", settings, lambda name: ())] == found


def faults(**table: Any) -> str:
    with pytest.raises(ConfigError) as found:
        load({}, {}, {"app": table})
    return str(found.value)


def test_settings_that_cannot_be_are_told_all_at_once() -> None:
    said = faults(instances=17, bind="udp", instance_port_step=0)
    assert "instances = 17: expected" in said and "bind = " in said and "instance_port_step = 0" in said


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"instances": 0}, "instances = 0: expected"),
        ({"instances": 2, "instance_port_step": 1}, "two processes cannot share a port"),
        ({"instances": 3, "blue_port": 5016}, "two processes cannot share a port"),
        ({"instances": 2, "green_port": 65530}, "the last port is above 65535"),
        ({"instances": 2, "blue_port": 4994}, "a process would listen where the router does"),
        (
            {"bind": "unix", "command": "serve --port {port}"},
            'bind = "unix": neither [app] command nor env has {socket}',
        ),
    ],
)
def test_processes_that_would_not_come_to_listen_are_refused(table: dict[str, Any], said: str) -> None:
    assert said in faults(**table)


@pytest.mark.parametrize(
    "table",
    [
        {"bind": "unix", "command": "serve --unix {socket}"},
        {"bind": "unix", "command": "serve", "env": {"BIND": "{socket}"}},
        {"bind": "unix", "instances": 2, "instance_port_step": 1, "command": "sh -c 'serve $BG_SOCKET'"},
        {"bind": "unix"},
        {"instances": 16},
    ],
)
def test_processes_that_can_be_are_taken(table: dict[str, Any]) -> None:
    load({}, {}, {"app": table})
