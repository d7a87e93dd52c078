from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.operator_errors import StateError, UsageError
from app.settings.checks import STOP_SIGNALS
from app.state.codec import decode, encode
from app.state.model import (
    PORTS,
    VERSIONS,
    BlueGreenState,
    Maintenance,
    Pause,
    VersionState,
    other,
    promote,
    with_maintenance,
    with_pause,
    with_preview_key,
    with_version,
    without_maintenance,
    without_pause,
)


def test_active_version_alone_is_a_valid_file() -> None:
    state = decode(b'{"active_version": "green"}')
    assert state.active == VersionState("green", 5006)
    assert state.version("blue").port == 5005
    assert (state.previous_version, state.serial) == (None, 0)


def test_new_state_has_no_active_version() -> None:
    assert BlueGreenState().active is None
    assert BlueGreenState().standby_version == "green"


def test_port_in_the_file_overrides_the_default() -> None:
    state = decode(b'{"active_version": "blue", "versions": {"blue": {"port": 8080}}}')
    assert state.active is not None
    assert state.active.port == 8080
    assert state.version("green").port == 5006


def test_unknown_top_level_keys_are_kept() -> None:
    state = decode(b'{"active_version": null, "weather": {"until": 12}}')
    assert json.loads(encode(promote(state, "blue", 1.0)))["weather"] == {"until": 12}


def test_unknown_keys_of_a_version_are_ignored() -> None:
    assert decode(b'{"active_version": null, "versions": {"blue": {"colour": "navy"}}}') == BlueGreenState()


def test_versions_cannot_be_changed_in_place() -> None:
    state = BlueGreenState()
    with pytest.raises(TypeError):
        state.versions["blue"] = VersionState("blue", 1)  # type: ignore[index]  # the point of the test
    with pytest.raises(FrozenInstanceError):
        state.serial = 2  # type: ignore[misc]  # the point of the test


def test_promote_remembers_the_version_that_was_active() -> None:
    first = promote(BlueGreenState(), "blue", 10.0)
    second = promote(first, "green", 20.0)
    assert (first.active_version, first.previous_version, first.serial) == ("blue", None, 1)
    assert (second.active_version, second.previous_version, second.serial) == ("green", "blue", 2)
    assert second.switched_at == 20.0


def test_promoting_the_active_version_keeps_the_previous_one() -> None:
    state = promote(promote(BlueGreenState(), "blue", 1.0), "green", 2.0)
    assert promote(state, "green", 3.0).previous_version == "blue"


def test_promoting_the_previous_version_leads_back() -> None:
    back = promote(promote(promote(BlueGreenState(), "blue", 1.0), "green", 2.0), "blue", 3.0)
    assert (back.active_version, back.previous_version) == ("blue", "green")


def test_with_version_changes_one_version_and_counts() -> None:
    state = with_version(BlueGreenState(), "green", pid=12, status="running")
    assert state.version("green") == replace(VersionState("green", 5006), pid=12, status="running")
    assert state.version("blue") == VersionState("blue", 5005)
    assert state.serial == 1


def test_active_follows_a_change_of_its_version() -> None:
    state = with_version(promote(BlueGreenState(), "blue", 1.0), "blue", port=7000)
    assert state.active is not None
    assert state.active.port == 7000


def test_a_pause_has_its_end_from_the_beginning() -> None:
    state = with_pause(BlueGreenState(), 100.0, 30.0)
    assert state.pause == Pause(100.0, 130.0)
    assert state.pause.holds(100.0)
    assert state.pause.holds(129.9)
    assert not state.pause.holds(130.0)
    assert without_pause(state).pause is None
    assert without_pause(state).serial == 2


def test_a_clock_that_was_set_back_does_not_make_a_pause_longer() -> None:
    pause = Pause(1000.0, 1030.0)
    assert pause.holds(999.0)
    assert not pause.holds(400.0)


def test_a_pause_given_again_keeps_its_beginning_and_a_late_one_does_not() -> None:
    state = with_pause(BlueGreenState(), 100.0, 30.0)
    assert with_pause(state, 120.0, 30.0).pause == Pause(100.0, 150.0)
    assert with_pause(state, 140.0, 30.0).pause == Pause(140.0, 170.0)


def test_maintenance_is_on_until_it_is_off() -> None:
    maintenance = Maintenance(5.0, "Back at nine", 60, ("10.0.0.0/8",))
    state = with_maintenance(BlueGreenState(), maintenance)
    assert (state.maintenance, state.serial) == (maintenance, 1)
    assert without_maintenance(state).maintenance is None
    assert state.maintenance_at(1e12) == maintenance


def test_maintenance_with_an_end_is_on_until_then_and_tells_clients_of_it() -> None:
    maintenance = Maintenance(100.0, until=160.0)
    state = with_maintenance(BlueGreenState(), maintenance)
    assert [state.maintenance_at(now) is not None for now in (98.0, 100.0, 159.9, 160.0, 500.0)] == [True] * 3 + [
        False
    ] * 2
    assert state.maintenance_at(90.0) is None, "the clock was set back: it must not last longer for that"
    assert [maintenance.comes_back_in_s(now) for now in (100.0, 100.5, 159.9)] == [60, 60, 1]
    assert Maintenance(100.0, retry_after_s=9).comes_back_in_s(150.0) == 9


def test_the_preview_key_is_kept_and_not_shown() -> None:
    state = with_preview_key(BlueGreenState(), "hush")
    assert decode(encode(state)).preview_key == "hush"
    assert "hush" not in repr(state)


@pytest.mark.parametrize("call", [BlueGreenState().version, other, lambda name: promote(BlueGreenState(), name, 0)])
def test_a_name_that_is_no_version_is_a_usage_error(call: object) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match="no version 'purple'"):
        call("purple")


def test_version_that_was_stopped_is_not_up_and_one_that_others_run_may_be() -> None:
    green = BlueGreenState().version("green")
    assert green.is_up
    assert replace(green, status="running", pid=7).is_up
    assert not replace(green, started_at=1.0).is_up
    assert not replace(green, status="starting").is_up


def test_index_and_other_name_the_two_versions() -> None:
    assert [VersionState(name, PORTS[name]).index for name in VERSIONS] == [0, 1]
    assert [other(name) for name in VERSIONS] == ["green", "blue"]
    assert promote(BlueGreenState(), "green", 0).standby_version == "blue"


def test_new_release_goes_to_the_standby_and_the_first_one_to_blue() -> None:
    assert BlueGreenState().free_version == "blue"
    assert promote(BlueGreenState(), "blue", 0).free_version == "green"
    assert promote(BlueGreenState(), "green", 0).free_version == "blue"


FOREIGN = {
    "empty": (b"", "empty"),
    "blank": (b" \n", "empty"),
    "torn": (b'{"active_version": "gr', "not JSON"),
    "not text": (b"\x80\x81\xfe", "not JSON"),
    "nested without end": (b"[" * 100_000, "not JSON"),
    "list": (b"[]", "the file is not a JSON object"),
    "NaN": (b'{"active_version": null, "switched_at": NaN}', "NaN"),
    "nothing of ours": (b'{"name": "package.json"}', 'no "active_version"'),
    "unknown version active": (b'{"active_version": "purple"}', "active_version is 'purple'"),
    "active is a list": (b'{"active_version": ["blue"]}', "active_version is"),
    "newer schema": (b'{"active_version": null, "schema": 3}', "schema is 3, and this program reads 1 and 2"),
    "unknown version": (b'{"active_version": null, "versions": {"red": {}}}', "versions.red"),
    "versions is a list": (b'{"active_version": null, "versions": []}', "versions is not"),
    "version is null": (b'{"active_version": null, "versions": {"blue": null}}', "versions.blue is not"),
    "port out of range": (
        b'{"active_version": null, "versions": {"blue": {"port": 65536}}}',
        "versions.blue.port is 65536",
    ),
    "port true": (b'{"active_version": null, "versions": {"blue": {"port": true}}}', "port is True"),
    "port null": (b'{"active_version": null, "versions": {"blue": {"port": null}}}', "port is None"),
    "status": (
        b'{"active_version": null, "versions": {"blue": {"status": "ok"}}}',
        "status is 'ok'; expected one of",
    ),
    "pid zero": (b'{"active_version": null, "versions": {"blue": {"pid": 0}}}', "pid is 0"),
    "same port": (b'{"active_version": null, "versions": {"blue": {"port": 5006}}}', "share port 5006"),
    "serial negative": (b'{"active_version": null, "serial": -1}', "serial is -1"),
    "pause is true": (b'{"active_version": null, "pause": true}', "pause is not a JSON object"),
    "pause without end": (
        b'{"active_version": null, "pause": {"since": 1}}',
        "pause.until is None; expected a time in seconds",
    ),
    "maintenance without a beginning": (b'{"active_version": null, "maintenance": {}}', "maintenance.since is None"),
    "maintenance for no network": (
        b'{"active_version": null, "maintenance": {"since": 1, "allow": ["10.0.0.1/8"]}}',
        "maintenance.allow is ['10.0.0.1/8']; expected a list of IP addresses and networks",
    ),
    "retry after a while": (
        b'{"active_version": null, "maintenance": {"since": 1, "retry_after_s": "a while"}}',
        "retry_after_s is 'a while'",
    ),
    "preview key null": (b'{"active_version": null, "preview_key": null}', "preview_key is None; expected a text"),
    "backends a text": (
        b'{"active_version": null, "versions": {"blue": {"backends": "10.0.0.1:80"}}}',
        "expected a list of addresses",
    ),
    "backends a number": (
        b'{"active_version": null, "versions": {"blue": {"backends": [8000]}}}',
        "expected a list of addresses",
    ),
    "backends no address": (
        b'{"active_version": null, "versions": {"blue": {"backends": ["8000"]}}}',
        "expected a list of addresses",
    ),
    "instances a weight": (
        b'{"active_version": null, "versions": {"blue": {"instances": ["127.0.0.1:5005 weight=2"]}}}',
        "versions.blue.instances is ['127.0.0.1:5005 weight=2']; expected a list of addresses of this machine",
    ),
    "instances a number": (
        b'{"active_version": null, "versions": {"blue": {"instances": 3}}}',
        "expected a list of addresses",
    ),
    "instances by name": (
        b'{"active_version": null, "versions": {"blue": {"instances": ["shop.internal:5005"]}}}',
        "expected a list of addresses of this machine",
    ),
    "drained no address": (
        b'{"active_version": null, "versions": {"blue": {"drained": ["blue.2"]}}}',
        "versions.blue.drained is ['blue.2']; expected a list of addresses",
    ),
    "an address of both": (
        b'{"active_version": null,'
        b' "versions": {"blue": {"instances": ["unix:/a"]}, "green": {"instances": ["unix:/a"]}}}',
        "the versions share unix:/a",
    ),
    "time infinite": (b'{"active_version": null, "switched_at": 1e999}', "switched_at is inf"),
}


@pytest.mark.parametrize(("raw", "why"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_refused_with_the_reason(raw: bytes, why: str) -> None:
    with pytest.raises(StateError) as caught:
        decode(raw)
    assert why in str(caught.value)


moments = st.floats(allow_nan=False, allow_infinity=False)
times = st.none() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.none() | st.text()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def versions(name: str, ports: st.SearchStrategy[int]) -> st.SearchStrategy[VersionState]:
    return st.builds(
        VersionState,
        name=st.just(name),
        port=ports,
        release=texts,
        pid=st.none() | st.integers(1, 4_194_304),
        pid_birth=texts,
        started_at=times,
        status=st.sampled_from(("stopped", "starting", "running", "stopping", "crashed")),
        exit_status=st.none() | st.integers(-64, 255),
        dir=texts,
        command=texts,
        stop_signal=st.sampled_from((None, *STOP_SIGNALS)),
    )


states = st.builds(
    BlueGreenState,
    active_version=st.sampled_from((None, *VERSIONS)),
    previous_version=st.sampled_from((None, *VERSIONS)),
    versions=st.fixed_dictionaries(
        {
            "blue": versions("blue", st.integers(1, 30_000)),
            "green": versions("green", st.integers(30_001, 65_535)),
        }
    ),
    serial=st.integers(0),
    switched_at=times,
    pause=st.none() | st.builds(Pause, moments, moments),
    maintenance=st.none()
    | st.builds(
        Maintenance,
        moments,
        st.text(),
        st.integers(0),
        st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
        st.none() | moments,
    ),
    preview_key=st.text(),
    extra=st.dictionaries(st.text().map(lambda key: "x" + key), json_values, max_size=3),
)


def test_backends_of_a_version_are_kept() -> None:
    raw = b'{"active_version": "blue", "versions": {"blue": {"backends": ["10.0.0.1:80", "unix:/run/a weight=2"]}}}'
    state = decode(raw)
    assert state.version("blue").backends == ("10.0.0.1:80", "unix:/run/a weight=2")
    assert decode(encode(state)) == state


def test_instances_are_kept_and_left_out_where_there_are_none() -> None:
    raw = (
        b'{"active_version": "blue", "versions": {"blue": {"instances": ["127.0.0.1:5005", "127.0.0.1:5015"], '
        b'"drained": ["127.0.0.1:5015"]}, "green": {"instances": []}}}'
    )
    state = decode(raw)
    assert state.version("blue").instances == ("127.0.0.1:5005", "127.0.0.1:5015")
    assert state.version("blue").drained == ("127.0.0.1:5015",)
    assert decode(encode(state)) == state
    assert encode(state).count(b'"instances"') == encode(state).count(b'"drained"') == 1


@given(states)
def test_what_was_encoded_is_decoded_again(state: BlueGreenState) -> None:
    assert decode(encode(state)) == state


@given(st.binary(max_size=300))
def test_any_bytes_give_a_state_or_a_state_error(raw: bytes) -> None:
    try:
        assert isinstance(decode(raw), BlueGreenState)
    except StateError as error:
        assert str(error)


@given(
    json_values,
    st.dictionaries(st.sampled_from(("port", "pid", "status", "release", "pid_birth")), json_values),
)
def test_any_json_gives_a_state_or_a_state_error(active: object, blue: dict[str, object]) -> None:
    raw = json.dumps({"active_version": active, "versions": {"blue": blue}}).encode()
    try:
        assert isinstance(decode(raw), BlueGreenState)
    except StateError as error:
        assert str(error)
