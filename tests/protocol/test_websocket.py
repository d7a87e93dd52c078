"""WebSocket frame boundaries, whatever the parts that the bytes come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.websocket import SERVICE_RESTART, FrameTracker, close_frame


def frame(payload: bytes, opcode: int = 2, mask: bytes = b"") -> bytes:
    """A final frame."""
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126:
        length = bytes((masked | size,))
    elif size < 1 << 16:
        length = bytes((masked | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((masked | 127,)) + size.to_bytes(8, "big")
    return bytes((0x80 | opcode,)) + length + mask + payload


FRAMES = {
    "empty": frame(b""),
    "short": frame(b"hello"),
    "masked": frame(b"hello", mask=b"\1\2\3\4"),
    "empty and masked": frame(b"", mask=b"\1\2\3\4"),
    "longest with one byte of length": frame(b"x" * 125),
    "two bytes of length": frame(b"x" * 126),
    "longest with two": frame(b"x" * 65_535),
    "eight bytes of length": frame(b"x" * 65_536, mask=b"\1\2\3\4"),
    "ping": frame(b"", opcode=9),
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_frame_ends_where_its_length_says(data: bytes) -> None:
    tracker = FrameTracker()
    assert tracker.at_boundary
    for cut in (1, 2, 3, 5, len(data) - 1):
        if 0 < cut < len(data):
            part = FrameTracker()
            part.feed(data[:cut])
            assert not part.at_boundary
    tracker.feed(data)
    assert tracker.at_boundary
    assert not tracker.has_closed


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("known", [1, 2, 4, 9])
def test_end_of_a_begun_frame_is_found_ahead(data: bytes, known: int) -> None:
    if known >= len(data):
        known = 1
    tracker = FrameTracker()
    tracker.feed(data[:known])
    rest = data[known:]
    assert tracker.end_in(rest) == len(rest)
    assert tracker.end_in(rest + b"next") == len(rest)
    assert tracker.end_in(rest[:-1]) == -1
    tracker.feed(rest)
    assert tracker.at_boundary, "looking ahead has changed nothing"
    assert tracker.end_in(b"next") == 0


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.sampled_from([0, 1, 2, 9, 10])), max_size=12),
    st.lists(st.integers(1, 400), max_size=60),
)
def test_any_split_gives_the_same_boundaries(kinds: list[tuple[int, bool, int]], cuts: list[int]) -> None:
    frames = [frame(b"\x88" * size, opcode, b"mask" if masked else b"") for size, masked, opcode in kinds]
    data = b"".join(frames)
    boundaries = {0}
    for one in frames:
        boundaries.add(max(boundaries) + len(one))
    tracker = FrameTracker()
    at = 0
    for cut in [*cuts, len(data)]:
        part = data[at : at + cut]
        ahead = tracker.end_in(part)
        following = [place for place in boundaries if at <= place <= at + len(part)]
        assert ahead == (min(following) - at if following else -1)
        tracker.feed(part)
        at += len(part)
        assert tracker.at_boundary == (at in boundaries)
    assert not tracker.has_closed


@given(st.binary(max_size=2000), st.lists(st.integers(1, 50), max_size=30))
def test_no_bytes_whatever_are_an_error(data: bytes, cuts: list[int]) -> None:
    tracker, whole = FrameTracker(), FrameTracker()
    whole.feed(data)
    at = 0
    for cut in [*cuts, len(data) + 1]:
        tracker.feed(data[at : at + cut])
        at += cut
    assert (tracker.at_boundary, tracker.has_closed) == (whole.at_boundary, whole.has_closed)


@pytest.mark.parametrize("mask", [b"", b"\1\2\3\4"], ids=["to a client", "to a server"])
def test_close_frame_is_one_and_is_seen_as_one(mask: bytes) -> None:
    data = close_frame(SERVICE_RESTART, mask)
    payload = bytes(byte ^ key for byte, key in zip(data[6:], mask, strict=False)) if mask else data[2:]
    assert payload == (1012).to_bytes(2, "big")
    assert data == frame(data[6:] if mask else payload, 8, mask)
    tracker = FrameTracker()
    tracker.feed(frame(b"before") + data[:3])
    assert not tracker.has_closed
    tracker.feed(data[3:])
    assert tracker.has_closed
