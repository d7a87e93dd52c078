"""TLS both ways with a real etcd, and what is told when one side does not take the other's certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from app.fleet.etcd import Etcd
from app.fleet.etcd_gateway import EtcdAccess, Gateway
from app.fleet.fleet_store import StoreRefused, StoreUnreachable
from tests.support.certificates import Authority
from tests.support.etcd_server import EtcdMember, etcd_member


class Secured(NamedTuple):
    member: EtcdMember
    authority: Authority
    other: Authority


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """It takes only clients with a certificate of its authority; `other` is one that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority(folder, "ours"), Authority(folder, "other")
    cert, key = authority.sign("server")
    flags = (f"--cert-file={cert}", f"--key-file={key}", f"--trusted-ca-file={authority.ca}", "--client-cert-auth")
    with etcd_member(folder / "etcd", *flags, scheme="https") as member:
        yield Secured(member, authority, other)


def changed(endpoint: str, ca: Path | str = "", cert: str = "", key: str = "") -> int | None:
    with closing(Gateway(EtcdAccess((endpoint,), ca=str(ca), cert=cert, key=key))) as gateway:
        return Etcd(gateway, "/traffic_router/shop/").change([], {"a": "1"})


@pytest.mark.parametrize("common_name", ["", "web-1"], ids=["nobody named", "a name"])
def test_both_sides_show_certificates(secured: Secured, common_name: str) -> None:
    cert, key = secured.authority.sign("node", common_name)
    assert changed(secured.member.endpoint, secured.authority.ca, cert, key)


def test_authority_that_has_not_signed_is_told(secured: Secured) -> None:
    cert, key = secured.authority.sign("node")
    with pytest.raises(StoreRefused, match="CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        changed(secured.member.endpoint, secured.other.ca, cert, key)
    with pytest.raises(StoreRefused, match="certificate verify failed"):
        changed(secured.member.endpoint, "", cert, key)


def test_client_without_a_certificate_or_with_one_of_others_is_told(secured: Secured) -> None:
    with pytest.raises(StoreRefused, match="no connection by TLS"):
        changed(secured.member.endpoint, secured.authority.ca)
    cert, key = secured.other.sign("foreign")
    with pytest.raises(StoreRefused, match="no connection by TLS"):
        changed(secured.member.endpoint, secured.authority.ca, cert, key)


def test_file_that_is_not_there_and_plain_http_are_told(secured: Secured) -> None:
    with pytest.raises(StoreRefused, match="none.pem"):
        changed(secured.member.endpoint, "/none.pem")
    with pytest.raises((StoreRefused, StoreUnreachable)):
        changed(secured.member.endpoint.replace("https:", "http:"))
