"""Addresses and backends: read as they are written, and what is none is said."""

from __future__ import annotations

import pytest

from app.address import MAX_BACKENDS, Address, Backend, backends_of, resolved
from app.operator_errors import ConfigError
from app.settings.loading import load
from app.settings.tables.backends_settings import BackendsConfig


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7:8000", Address("10.0.0.7", 8000)),
        ("[fd00::7]:8000", Address("fd00::7", 8000)),
        ("unix:/run/shop.sock", Address("/run/shop.sock")),
        ("shop-1.internal:8000", Address("shop-1.internal", 8000)),
    ],
)
def test_address_is_read_as_it_is_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8000", "is no address such as 10.0.0.7:8000"),
        ("10.0.0.7", "is no address such as"),
        ("10.0.0.7:0", "is no address such as"),
        ("10.0.0.7:65536", "is no address such as"),
        ("10.0.0.7:٣", "is no address such as"),
        ("10.0.0.700:80", "has no IP address"),
        ("http://10.0.0.7:80", "has no IP address"),
        ("localhost:80", "has two addresses"),
        ("fd00::7:8000", "in brackets"),
        ("[10.0.0.7]:8000", "in brackets"),
        ("unix:shop.sock", "begins with /"),
        ("unix:/" + 107 * "x", "at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="brackets|no|path|two") as found:
        Address.parse(text)
    assert said in str(found.value)


def test_address_in_a_url_and_for_people() -> None:
    kinds = [Address("127.0.0.1", 80), Address("::1", 80), Address("/run/x")]
    assert [one.authority for one in kinds] == ["127.0.0.1:80", "[::1]:80", "localhost"]
    assert [one.sockaddr for one in kinds] == [("127.0.0.1", 80), ("::1", 80), "/run/x"]
    assert [one.spot for one in kinds] == ["port 80", "port 80 of ::1", "/run/x"]


@pytest.mark.parametrize(
    ("text", "address", "weight"), [("10.0.0.7:80", "10.0.0.7:80", 1), ("unix:/run/a  weight=100", "unix:/run/a", 100)]
)
def test_backend_has_a_weight(text: str, address: str, weight: int) -> None:
    assert Backend.parse(text) == Backend(Address.parse(address), weight)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.7:80 weight=0", "from 1 to 100"),
        ("10.0.0.7:80 weight=101", "from 1 to 100"),
        ("10.0.0.7:80 weight=-1", "nothing but weight=N"),
        ("10.0.0.7:80 backup", "nothing but weight=N"),
        ("10.0.0.7:80 weight=1 weight=2", "nothing but weight=N"),
    ],
)
def test_what_is_no_backend_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Backend.parse(text)


def test_backends_of_a_version_are_different_ones_and_not_too_many() -> None:
    with pytest.raises(ValueError, match="10.0.0.1:80 is named twice"):
        backends_of(["10.0.0.1:80", "10.0.0.1:80 weight=2"])
    with pytest.raises(ValueError, match="17 backends, and a version has at most 16"):
        backends_of([f"10.0.0.{number}:80" for number in range(1, 18)])


def faults(**table: object) -> str:
    with pytest.raises(ConfigError) as found:
        load({}, {}, {"backends": table})
    return str(found.value)


def test_faults_of_the_table_are_all_told_at_once() -> None:
    assert "blue = " in faults(blue=["8000"], balance="most") and "balance = " in faults(blue=["8000"], balance="most")
    said = faults(blue=["10.0.0.1:80", "10.0.0.1:80"], green=["10.0.0.1:80"])
    assert "[backends] blue: 10.0.0.1:80 is named twice" in said
    assert "[backends] blue, green: 10.0.0.1:80 cannot be both" in said


@pytest.mark.parametrize("balance", ["least", "round-robin", "hash:client", "hash:cookie=sid", "hash:header=X-Tenant"])
def test_every_way_to_choose_can_be_set(balance: str) -> None:
    assert load({}, {}, {"backends": {"balance": balance}}).backends.balance == balance


@pytest.mark.parametrize("balance", ["", "hash:cookie=", "hash:header=a b", "hash:ip", "client"])
def test_other_ways_cannot(balance: str) -> None:
    assert "balance = " in faults(balance=balance)


def test_each_version_has_its_own() -> None:
    config = BackendsConfig(blue=("10.0.0.1:80",), green=("10.0.0.2:80",))
    assert (config.listed("blue"), config.listed("green")) == (("10.0.0.1:80",), ("10.0.0.2:80",))


KNOWN = {"shop.internal": ("10.0.0.1", "10.0.0.2", "fd00::7"), "many.internal": tuple(f"10.0.1.{n}" for n in range(20))}


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (["10.0.0.9:80"], ["10.0.0.9:80 1"]),
        (["shop.internal:80 weight=2"], ["10.0.0.1:80 2", "10.0.0.2:80 2", "[fd00::7]:80 2"]),
        (["10.0.0.2:80", "shop.internal:80"], ["10.0.0.2:80 1", "10.0.0.1:80 1", "[fd00::7]:80 1"]),
        (["gone.internal:80"], ["gone.internal:80 1"]),
        (["unix:/run/shop.sock", "gone.internal:80"], ["unix:/run/shop.sock 1", "gone.internal:80 1"]),
    ],
)
def test_each_address_of_a_name_is_a_backend(named: list[str], found: list[str]) -> None:
    backends = resolved(backends_of(named), lambda name: KNOWN.get(name, ()))
    assert [f"{backend.address} {backend.weight}" for backend in backends] == found


def test_name_with_more_addresses_than_there_is_room_for_has_the_first() -> None:
    assert len(resolved(backends_of(["many.internal:80"]), KNOWN.__getitem__)) == MAX_BACKENDS


def test_affinity_beside_a_hash_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="keeps a client on its backend already"):
        load({}, {}, {"backends": {"affinity": "cookie", "balance": "hash:client"}})
