"""Keys: which can be used, where they are kept, and when they are asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.logins.key_file import KeptKeys, KeyFile
from app.logins.key_source import ASK_AGAIN_S, FRESH_S, USED_S, KeySource
from app.logins.keys import keys_of
from tests.support.issuer import private_key, public_jwk


def jwks(*keys: Any) -> str:
    return json.dumps({"keys": keys})


def pem(kind: str) -> str:
    return str(private_key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "ascii")


def private_pem(kind: str) -> str:
    return str(private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "ascii")


# --- which can be used -----------------------------------------------------------------------------------

GOOD_FOR = {"RSA-2048": "RS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


@pytest.mark.parametrize("kind", GOOD_FOR)
def test_key_of_a_kind_is_good_for_its_algorithms(kind: str) -> None:
    for text in (jwks(public_jwk(kind, kid="a")), pem(kind)):
        (key,) = keys_of(text).keys
        assert GOOD_FOR[kind] in key.algorithms
        assert len(key.algorithms) == (6 if kind.startswith("RSA") else 1)


def test_key_with_an_algorithm_is_good_for_that_one_alone() -> None:
    found = keys_of(jwks(public_jwk("RSA-2048", kid="a", alg="PS256")))
    assert found.candidates("a", "PS256") and not found.candidates("a", "RS256")


UNUSABLE = {
    "a short one": (jwks(public_jwk("RSA-1024", kid="a")), "it has 1024 bits; from 2048 to 8192 are wanted"),
    "a short one in PEM": (pem("RSA-1024"), "it has 1024 bits"),
    "another curve": (jwks({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}), "it cannot be read"),
    "another curve in PEM": (pem("K-256"), "it is not of a kind that signs tokens"),
    "the wrong algorithm": (jwks(public_jwk("P-256", alg="RS256")), "it is not of a kind that signs tokens"),
    "a secret": (jwks({"kty": "oct", "k": "c2VjcmV0"}), "it is a secret, or a private key"),
    "a private JWK": (jwks({**public_jwk("P-256"), "d": "AA"}), "it is a secret, or a private key"),
    "a private key in PEM": (private_pem("P-256"), "it is a private key; the public one is wanted"),
    "for encryption": (jwks(public_jwk("RSA-2048") | {"use": "enc"}), "there is no key in it"),
    "an unknown kind": (jwks({"kty": "AKP"}), "its kind is not known: kty AKP"),
    "a kind that is a list": (jwks({"kty": ["RSA"]}), "its kind is not known"),
    "a name that is none": (jwks(public_jwk("P-256") | {"kid": 1}), "its kind is not known"),
    "without its parts": (jwks({"kty": "RSA"}), "it cannot be read"),
    "no object": (jwks("key"), "it is no JSON object"),
    "too many": (jwks(*[{"kty": "RSA"}] * 65), "no list of at most 64"),
    "no list": ('{"keys": {}}', "no list of at most 64"),
    "no JWKS": ("[]", "it is no JWKS"),
    "no JSON": ("secret", "it is no JWKS"),
    "nested": ('{"keys": ' + "[" * 100_000, "it is no JWKS"),
    "HTML": (" <!doctype html>", "it is a page of HTML"),
    "broken PEM": ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "it is no public key in PEM"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_is_no_usable_key_is_told(what: str) -> None:
    text, said = UNUSABLE[what]
    with pytest.raises(ValueError, match=said):
        keys_of(text)


def test_unusable_key_among_others_is_told_and_left_out() -> None:
    found = keys_of(jwks({"kty": "oct", "k": "AA"}, public_jwk("P-256", kid="b")))
    assert [key.key_id for key in found.keys] == ["b"]
    assert found.faults == ("key 1 is not used: it is a secret, or a private key, which nobody may be shown",)


def test_candidates_are_those_of_the_name_and_those_without_one() -> None:
    found = keys_of(jwks(public_jwk("P-256", kid="a"), public_jwk("P-256:b", kid="b"), public_jwk("P-256:c")))
    assert [key.key_id for key in found.candidates("a", "ES256")] == ["a", ""]
    assert [key.key_id for key in found.candidates("", "ES256")] == ["a", "b", ""]
    assert [key.key_id for key in found.candidates("z", "ES256")] == [""]
    assert found.candidates("a", "RS256") == ()


# --- where they are kept ---------------------------------------------------------------------------------

KEPT = KeptKeys('{"keys": []}', 1000.5)


def test_kept_keys_are_read_again_and_are_nobody_else_s(tmp_path: Path) -> None:
    file = KeyFile(tmp_path, "https://id.test/")
    assert file.read() is None
    file.write(KEPT)
    assert file.read() == KEPT
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert KeyFile(tmp_path, "https://other.test/").read() is None


def test_file_that_others_may_write_or_that_is_torn_is_not_read(tmp_path: Path) -> None:
    file = KeyFile(tmp_path, "https://id.test/")
    file.write(KEPT)
    whole = file.path.read_bytes()
    file.path.chmod(0o660)
    assert file.read() is None
    file.path.chmod(0o600)
    for torn in (
        b"",
        whole[:-3],
        b"[]",
        b"{}",
        whole.replace(b"1000.5", b"null"),
        whole.replace(b"id.test", b"x.test"),
    ):
        file.path.write_bytes(torn)
        assert file.read() is None


# --- when they are asked for -----------------------------------------------------------------------------


class World:
    """A clock, and an issuer that answers with what a test says; "" is an outage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 10_000.0
        self.answer = jwks(public_jwk("P-256", kid="a"))
        self.asked = 0

    def fetch(self, _address: str) -> str:
        self.asked += 1
        if not self.answer:
            raise ValueError("down")
        return self.answer

    def source(self) -> KeySource:
        found = KeySource("https://id.test/", self.fetch, KeyFile(self.folder, "https://id.test/"), lambda: self.now)
        found.begin()
        return found

    def pass_time(self, seconds: float, source: KeySource) -> None:
        self.now += seconds
        source.keep_fresh()
        if source.is_fetching:
            source.refresh().join()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_fresh_keys_are_not_asked_for_again(world: World) -> None:
    source = world.source()
    world.pass_time(0, source)
    for _ in range(9):
        world.pass_time(FRESH_S / 10, source)
    assert world.asked == 1
    world.pass_time(FRESH_S / 10, source)
    assert world.asked == 2


def test_last_good_keys_are_used_through_an_outage_of_a_day(world: World) -> None:
    source = world.source()
    world.pass_time(0, source)
    world.answer = ""
    world.pass_time(USED_S - 1, source)
    assert source.candidates("a", "ES256")
    assert source.state().fault == "down"
    assert source.state().age_s == USED_S - 1
    world.pass_time(1, source)
    assert not source.has_keys
    assert source.candidates("a", "ES256") == ()
    world.answer = jwks(public_jwk("P-256", kid="b"))
    world.pass_time(ASK_AGAIN_S, source)
    assert source.candidates("b", "ES256")
    assert source.state().fault == ""


def test_rubbish_does_not_replace_what_is_good(world: World) -> None:
    source = world.source()
    world.pass_time(0, source)
    for world.answer in ("<html>", "{}", jwks(), jwks({"kty": "oct", "k": "AA"})):
        world.pass_time(FRESH_S, source)
        assert source.candidates("a", "ES256")
        assert source.state().fault != ""


def test_outage_is_asked_about_no_more_often_than_every_half_minute(world: World) -> None:
    world.answer = ""
    source = world.source()
    for _ in range(60):
        world.pass_time(1, source)
    assert world.asked == 2


def test_news_may_be_had_once_in_half_a_minute(world: World) -> None:
    source = world.source()
    assert source.may_have_news
    source.refresh().join()
    assert not source.may_have_news
    world.now += ASK_AGAIN_S
    assert source.may_have_news


def test_those_who_wait_share_one_fetch(world: World) -> None:
    source = world.source()
    assert source.refresh() is source.refresh()
    assert source.may_have_news
    source.refresh().join()
    assert world.asked == 1


def test_restart_in_an_outage_has_the_keys_that_were_kept(world: World) -> None:
    world.pass_time(0, world.source())
    world.answer = ""
    world.now += USED_S / 2
    after = world.source()
    assert after.candidates("a", "ES256")
    world.now += USED_S
    assert not world.source().has_keys


def test_keys_of_the_future_are_not_taken_from_the_disk(world: World) -> None:
    world.pass_time(0, world.source())
    world.now -= 3600
    assert not world.source().has_keys


def test_worker_takes_what_another_one_has_fetched(world: World) -> None:
    one, other = world.source(), world.source()
    world.pass_time(0, one)
    world.pass_time(1, other)
    assert other.candidates("a", "ES256")
    assert world.asked == 1


def test_worker_that_took_what_is_kept_asks_half_a_minute_after_the_issuer_was_asked(world: World) -> None:
    one, other = world.source(), world.source()
    world.pass_time(0, one)
    world.answer = jwks(public_jwk("P-256", kid="b"))
    world.now += ASK_AGAIN_S - 1
    other.refresh().join()
    assert world.asked == 1 and not other.candidates("b", "ES256")
    world.now += 1
    assert other.may_have_news
    other.refresh().join()
    assert other.candidates("b", "ES256")


def test_folder_that_cannot_be_written_costs_nobody_his_login(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.folder = Path("/proc")
    source = world.source()
    world.pass_time(0, source)
    assert source.candidates("a", "ES256")
    assert "cannot be kept for a restart" in caplog.text


def test_change_of_keys_is_told(world: World) -> None:
    source, told = world.source(), list[int]()
    source.on_change.append(lambda: told.append(1))
    world.pass_time(0, source)
    world.pass_time(FRESH_S, source)
    assert len(told) == 1
    world.answer = jwks(public_jwk("P-256:b", kid="b"))
    world.pass_time(FRESH_S, source)
    assert len(told) == 2
    assert os.listdir(world.folder) == [KeyFile(world.folder, "https://id.test/").path.name]
