"""Hypothesis strategies for the parts of HTTP/1.1 messages, valid by construction (RFC 9110 §5.6, RFC 9112 §2)."""

from __future__ import annotations

import re
import string

from hypothesis import settings
from hypothesis import strategies as st

from tests.support.wire import Field

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")  # a busy machine is no finding, and chance is the long run's affair

TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters

SPECIAL = re.compile(
    rb"(?i)connection|keep-alive|proxy-.*|te|transfer-encoding|upgrade|content-length|host|expect"
    rb"|forwarded|x.forwarded.*|x.request.id|x.real.ip|via|date|.*_.*"
)
"""Names that mean something to a proxy; tables show by name what happens to them."""

names = st.text(TOKEN, min_size=1, max_size=16).map(str.encode).filter(lambda name: not SPECIAL.fullmatch(name))
values = st.binary(max_size=30).map(lambda value: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", value).strip(b" \t"))
fields = st.lists(st.tuples(names, values), max_size=8)
methods = (
    st.text(TOKEN, min_size=1, max_size=10).map(str.encode).filter(lambda method: method not in (b"CONNECT", b"TRACE"))
)
targets = st.binary(max_size=40).map(lambda path: b"/" + re.sub(rb"[\x00-\x20\x7f]", b"", path))

extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b c"'])
size_formats = st.sampled_from([b"%x", b"%X", b"0%x"])
trailer_sections = st.lists(st.tuples(names, values), max_size=3).map(
    lambda pairs: b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """A chunked message body: what it says, its raw trailer section, and one way to write both."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    framed = [
        draw(size_formats) % len(chunk) + draw(extensions) + b"\r\n" + chunk + b"\r\n"
        for chunk in chunks
    ]  # fmt: skip
    trailers = draw(trailer_sections)
    last = draw(st.sampled_from([b"0", b"000"])) + draw(extensions) + b"\r\n"
    return b"".join(chunks), trailers, b"".join([*framed, last, trailers, b"\r\n"])


cuts = st.lists(st.integers(0, 10_000), max_size=6)


def split(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places modulo its length; none of them is empty."""
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in zip(marks, marks[1:], strict=False)]


def block(pairs: list[Field]) -> bytes:
    """Field lines and the empty line that ends them."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in pairs) + b"\r\n"
