"""`[fleet]` in the file: what fits together, and every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from app.operator_errors import ConfigError
from app.settings.loading import load
from app.settings.tables.fleet_settings import FleetConfig

FLEET: dict[str, Any] = {"name": "shop", "endpoints": ["https://10.0.0.1:2379", "https://etcd.test:2379/"]}


def fleet(**changes: Any) -> FleetConfig:
    return load({}, {}, {"fleet": {**FLEET, **changes}}).fleet


def test_there_is_no_fleet_until_it_has_a_name_and_endpoints() -> None:
    assert not load({}, {}, {}).fleet.is_on
    assert fleet().is_on and fleet().root == "/traffic_router/shop/"
    assert fleet(prefix="/x/y", node="web-1.local").root == "/x/y/shop/"
    assert fleet(fence="1m", cert="/a", key="/b", ca="/c", user="u", password_file="/p").fence == 60


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"endpoints": []}, "name = 'shop', endpoints"),
        ({"name": ""}, "endpoints"),
        ({"name": "a/b"}, "name"),
        ({"node": "a/b"}, "node"),
        ({"node": ".a"}, "node"),
        ({"endpoints": ["10.0.0.1:2379"]}, "endpoints"),
        ({"endpoints": ["http://u:p@10.0.0.1:2379"]}, "endpoints"),
        ({"endpoints": ["http://10.0.0.1:2379/v3"]}, "endpoints"),
        ({"endpoints": ["http://10.0.0.1:2379"], "ca": "/ca.pem"}, "certificates are for endpoints with https"),
        ({"user": "shop"}, "password_file"),
        ({"cert": "/cert.pem"}, "key"),
        ({"prefix": "/x/"}, "prefix"),
        ({"fence": 5}, "more than 10 seconds"),
        ({"allow_dir": ["srv"]}, "allow_dir"),
        ({"allow_dir": ["/srv/../etc"]}, "allow_dir"),
    ],
    ids=str,
)
def test_tells_what_is_wrong(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        fleet(**changes)
    assert told in str(raised.value)


def test_tells_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        fleet(user="shop", cert="/cert.pem", fence=5, node="a/b")
    assert all(name in str(raised.value) for name in ("password_file", "key", "fence", "node"))
