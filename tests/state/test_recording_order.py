"""The order to record: read as it was written, and nothing else for one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.state.recording_order import RecordingOrder, read_order, write_order

ORDER = RecordingOrder(("/api/*", "/a"), 1_800_000_000.5, 4096, 1 << 26, "/tmp/recording.jsonl")


def test_order_is_read_as_it_was_written_and_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    write_order(path, ORDER)
    assert read_order(path) == ORDER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"paths": ["/"]}', "\\xff"),
        '{"paths": ["/"], "until": "soon", "max_body": 1, "max_bytes": 1, "file": "f"}',
        '{"paths": 7, "until": 1, "max_body": 1, "max_bytes": 1, "file": "f"}',
    ],
)
def test_what_is_no_order_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recording.json"
    path.write_text(text)
    assert read_order(path) is None


def test_no_file_is_no_order(tmp_path: Path) -> None:
    assert read_order(tmp_path / "recording.json") is None
