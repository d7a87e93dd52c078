"""The modules that a request's way leads through, compiled, where a C compiler was at hand when they were installed.

mypyc makes C of their sources as they are, so there is one code and one behaviour; without a compiler, or with
`TRAFFIC_ROUTER_PURE=1`, Python runs the sources. What was compiled lies in a folder that is named for the sources and
the Python it was made of. So nothing stale is ever taken: who edits a source, or updates, runs the sources until
`make setup` compiles them anew. Only workers take it: gunicorn's master loads none of these modules, so that the
workers of a `reload` can load others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from app.installation import ROOT
from app.settings.loading import PURE_VARIABLE

__all__ = ["GROUP", "MODULES", "describe", "is_taken", "place", "sources", "take", "wants_sources"]

GROUP = "traffic_router"
"""All modules are in one library, so that they call each other as C does; it is named for this."""

MODULES = (
    "app.limits.counts",
    "app.limits.gcra",
    "app.limits.in_flight",
    "app.limits.key_hash",
    "app.limits.rate_cells",
    "app.logins.identity",
    "app.logins.remembered",
    "app.logins.tokens",
    "app.metrics.backend_words",
    "app.metrics.queue_words",
    "app.metrics.slot",
    "app.notices",
    "app.metrics.split_clients",
    "app.metrics.split_words",
    "app.protocol.chunked",
    "app.protocol.field_values",
    "app.protocol.fields",
    "app.protocol.forwarding",
    "app.protocol.heads",
    "app.protocol.path_patterns",
    "app.protocol.request",
    "app.protocol.response",
    "app.proxy.access_log",
    "app.proxy.backend_queue",
    "app.proxy.chain",
    "app.proxy.client_request",
    "app.proxy.filters.admission",
    "app.proxy.filters.limiting",
    "app.proxy.filters.login",
    "app.proxy.filters.maintenance",
    "app.proxy.filters.preview",
    "app.proxy.filters.splitting",
    "app.proxy.forwarder",
    "app.proxy.limit_keys",
    "app.proxy.limited",
    "app.proxy.relay.response_relay",
    "app.proxy.relay.tunnel",
    "app.proxy.relay.websocket_frames",
    "app.proxy.replies.audience",
    "app.proxy.replies.rate_refusals",
    "app.proxy.replies.reply",
    "app.proxy.request_log.json_lines",
    "app.proxy.request_log.line_file",
    "app.proxy.request_log.logged_request",
    "app.proxy.request_log.text_lines",
    "app.proxy.rewrite.rewriter",
    "app.proxy.sharing",
    "app.proxy.tape",
    "app.proxy.transaction",
    "app.proxy.waiting_room",
    "app.redaction",
    "app.routing.backends",
    "app.routing.choosing",
    "app.routing.roster",
    "app.routing.router",
    "app.routing.targets",
    "app.server.client_connection",
    "app.server.lane",
    "app.state.watch",
    "app.transport.deadlines",
    "app.transport.endpoint",
    "app.transport.limits",
    "app.upstream.exchange",
    "app.upstream.pool",
    "app.upstream.upload",
    "app.upstream.upstream_connection",
)
"""Those of which a request without anything unusual runs code, and some that large bodies and messages need."""

_READ = (
    *("access", "address", "errors", "limits", "log_fields", "logins", "metrics", "notices", "operator_errors"),
    *("protocol", "proxy", "redaction", "routing", "server", "settings", "state", "transport", "upstream"),
)
"""What of `app` they import from: a compiler may have written a constant of it into their code."""

_FORMS = Path(__file__).with_name("build")
"""Where everything that was compiled is; not there where nothing ever was."""

_SUFFIX = EXTENSION_SUFFIXES[0]


def sources() -> dict[str, Path]:
    """The source of each module."""
    return {name: ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in MODULES}


def place() -> Path:
    """Where the compiled form of the present sources is, or would be, for this Python. Raises OSError."""
    digest = sha256(_SUFFIX.encode())
    for name in _READ:
        for path in sorted([*ROOT.glob(f"app/{name}.py"), *ROOT.glob(f"app/{name}/**/*.py")]):
            digest.update(b"\0%b\0%b" % (os.fsencode(path.relative_to(ROOT)), path.read_bytes()))
    return _FORMS / f"{sys.implementation.cache_tag}-{digest.hexdigest()[:16]}"


def describe(environ: Mapping[str, str]) -> str:
    """Which form a router that is started with this environment runs, and why, in a few words."""
    if wants_sources(environ):
        return f"pure Python ({PURE_VARIABLE} is set)"
    if place().is_dir():
        return "compiled"
    is_stale = any(_FORMS.glob(f"{sys.implementation.cache_tag}-*"))
    return "pure Python (compiled of other sources)" if is_stale else "pure Python"


def take(environ: Mapping[str, str]) -> bool:
    """Has the modules imported in their compiled form from now on, where there is one; returns whether there is.

    What is imported already stays as it is.
    """
    try:
        # In this order: who never compiles does not read all sources at each worker's start.
        if wants_sources(environ) or not _FORMS.is_dir() or not (compiled := place()).is_dir():
            return False
    except OSError:  # no source, no word of what was compiled of it
        return False
    sys.meta_path.insert(0, _Finder(compiled))
    return True


def is_taken() -> bool:
    """Whether this process imports the modules in their compiled form."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def wants_sources(environ: Mapping[str, str]) -> bool:
    """Whether this environment has the sources run, whatever was compiled: the variable is neither empty nor 0."""
    return environ.get(PURE_VARIABLE, "") not in ("", "0")


class _Finder(MetaPathFinder):
    """Finds the compiled modules, and the library that they are all in, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._paths = {name: folder / f"{name}{_SUFFIX}" for name in (*MODULES, f"{GROUP}__mypyc")}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module as an extension, where it is one of them."""
        found = self._paths.get(fullname)
        if found is None:
            return None
        return spec_from_file_location(fullname, found, loader=ExtensionFileLoader(fullname, os.fspath(found)))
