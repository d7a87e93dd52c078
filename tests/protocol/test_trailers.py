"""Trailers: checksums and timings pass, what must be known before the body does not (RFC 9110 §6.5)."""

from __future__ import annotations

import pytest

from app.protocol.trailers import safe_trailers


@pytest.mark.parametrize("line", [b"X-Checksum: 1", b"Server-Timing: db;dur=5", b"Digest:x", b'ETag: "a"', b"a:"])
def test_plain_trailer_passes_as_it_is(line: bytes) -> None:
    assert safe_trailers(line + b"\r\n") == line + b"\r\n"


@pytest.mark.parametrize(
    "name",
    [
        *(b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"Upgrade", b"Keep-Alive", b"TE"),
        *(b"Trailer", b"Expect", b"Proxy-Authorization", b"Authorization", b"Set-Cookie", b"Cookie", b"Range"),
        *(b"Content-Type", b"Content-Encoding", b"Content-Range", b"Cache-Control", b"Max-Forwards"),
        *(b"WWW-Authenticate", b"X-Forwarded-For", b"X-Forwarded-Host", b"Forwarded", b"X-Request-ID", b"Via"),
        *(b"X_Forwarded_For", b"x.forwarded.for", b"Date"),
    ],
    ids=bytes.decode,
)
@pytest.mark.parametrize("spelling", [bytes, bytes.upper, bytes.lower], ids=["usual", "upper", "lower"])
def test_trailer_that_would_act_too_late_is_left_out(name: bytes, spelling: type[bytes]) -> None:
    lines = b"A: 1\r\n" + spelling(name) + b": 5\r\nB: 2\r\n"

    assert safe_trailers(lines) == b"A: 1\r\nB: 2\r\n"


def test_no_trailers() -> None:
    assert safe_trailers(b"") == b""


@pytest.mark.parametrize("raw", [b"A : 1\r\n", b"A: 1\nB: 2\r\n", b" A: 1\r\n", b"nonsense\r\n", b"A: \x00\r\n"])
def test_section_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        safe_trailers(raw)
