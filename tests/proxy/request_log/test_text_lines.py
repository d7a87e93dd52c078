"""Lines as web servers write them, read back by a reader of such lines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.proxy.request_log.text_lines import TextLines
from app.redaction import Redaction
from tests.proxy.request_log.done import done

GOACCESS = shutil.which("goaccess")

RAW = (
    b"GET /a?page=2&token=abc HTTP/1.1\r\nHost: x\r\nReferer: https://shop.example/?code=abc\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0\r\n\r\n"
)
LINE = re.compile(
    r'(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)'
    r'(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?\n'
)
"""As readers of the format have it."""


def combined(longest: int = 1 << 20) -> TextLines:
    return TextLines(Redaction(), True, longest)


def test_combined_line_has_what_apache_writes() -> None:
    logged = done(RAW)
    logged.transaction.bytes_out = 512
    found = LINE.fullmatch(combined()(logged))
    assert found is not None
    client, ident, user, at, line, status, size, referer, agent = found.groups()
    assert (client, ident, user, status, size) == ("192.0.2.7", "-", "-", "200", "512")
    assert line == "GET /a?page=2&token=*** HTTP/1.1"
    assert referer == "https://shop.example/?code=***"
    assert agent.startswith("Mozilla/5.0")
    moment = datetime.strptime(at, "%d/%b/%Y:%H:%M:%S %z")
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


def test_common_line_ends_with_the_bytes() -> None:
    found = LINE.fullmatch(TextLines(Redaction(), False, 1 << 20)(done(RAW)))
    assert found is not None
    assert found.groups()[5:] == ("200", "-", None, None)


def test_what_was_not_sent_is_a_dash() -> None:
    assert combined()(done(b"GET / HTTP/1.0\r\n\r\n")).endswith('"GET / HTTP/1.0" 200 - "-" "-"\n')


def test_quotes_backslashes_and_other_bytes_are_escaped_as_apache_does() -> None:
    line = combined()(done(b'GET /" HTTP/1.1\r\nHost: x\r\nUser-Agent: "\\\xe9\tx\r\n\r\n'))
    assert line.endswith('"GET /\\" HTTP/1.1" 200 - "-" "\\"\\\\\\xe9\\x09x"\n')


@given(st.binary(max_size=40).map(lambda raw: bytes(one for one in raw if one == 9 or one >= 32 and one != 127)))
def test_no_line_can_be_forged(agent: bytes) -> None:
    line = combined()(done(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: " + agent + b"\r\n\r\n"))
    assert LINE.fullmatch(line)
    assert line.isascii()


def test_long_texts_are_cut_where_lines_have_to_be_short() -> None:
    line = combined(100)(done(b"GET /" + b"p" * 2000 + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\n\r\n"))
    assert len(line) < 300


@pytest.mark.skipif(GOACCESS is None, reason="goaccess is not here")
@pytest.mark.parametrize("form", ["combined", "common"])
def test_goaccess_reads_every_line(tmp_path: Path, form: str) -> None:
    write = TextLines(Redaction(), form == "combined", 1 << 20)
    hostile = b'GET /"\\\xff%22?a="b" HTTP/1.1\r\nHost: x\r\nUser-Agent: "q" \\ \xff\r\nReferer: "\\\r\n\r\n'
    log, report = tmp_path / "access.log", tmp_path / "report.json"
    log.write_text("".join(write(done(raw, status=404)) for raw in (RAW, hostile) for _ in range(50)))
    assert GOACCESS is not None
    subprocess.run(
        [
            GOACCESS,
            str(log),
            f"--log-format={form.upper()}",
            "--no-global-config",
            f"--output={report}",
            "--no-progress",
        ],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    general = json.loads(report.read_text())["general"]
    assert (general["total_requests"], general["valid_requests"], general["failed_requests"]) == (100, 100, 0)
