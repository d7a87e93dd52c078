"""What a text must look like to be a path, a network, a command: the checks that settings name.

Each takes the text of one setting (or one item of a list) and says whether it will do.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from urllib.parse import SplitResult, urlsplit

from app.address import Backend, is_port
from app.canary.course import parse_steps
from app.limits.rate import Rate
from app.log_fields import ALWAYS, EXTRA, FORMATS
from app.withheld import is_withheld

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/[!-~]*")
_LABEL = r"[0-9A-Za-z_-]{1,63}"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_HOST_FIELD = re.compile(r"([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
STOP_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH")
"""Signals that servers take for the word to end, or for something else: gunicorn has a meaning for each of these."""

_LABEL_TEXT = re.compile(r"[0-9A-Za-z_-]{0,40}")
_NODE = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,99}")
_VISIBLE = re.compile(r"[!-~]*")
_NEVER_COPIED = frozenset(
    # What frames or routes a message is ours to say; what the client logs in with is what the auth service needs.
    ("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "authorization", "cookie")
)
_STATUSES = re.compile(r"[1-5]\d\d(-[1-5]\d\d)?")


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback and "%" not in text
    except ValueError:
        return False


def is_bind(text: str) -> bool:
    # Without a "/" a network is one address.
    return "/" not in text and (is_network(text) if ":" in text else _HOST.fullmatch(text) is not None)


def is_listen_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return text == "" or (bool(colon) and is_port(port) and (is_bind(host[1:-1]) if host[:1] == "[" else is_bind(host)))


def is_name(text: str) -> bool:
    return len(text) <= 40 and text.isprintable() and text == text.strip()


def is_cause_audience(text: str) -> bool:
    return text in ("admin", "always", "never")


def is_own_path(text: str) -> bool:
    # "//…" is somebody else's host in a link, and "/__…" belongs to the router's other endpoints.
    return text == "" or (_PATH.fullmatch(text) is not None and len(text) > 1 and text[1] != "/" and text[:3] != "/__")


def is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def is_upgrade(text: str) -> bool:
    # What goes on as HTTP would pass every rule of the router by: its limits, its framing, its fields.
    name, slash, version = text.lower().partition("/")
    is_token = all(_TOKEN.fullmatch(part) for part in ([name, version] if slash else [name]))
    return is_token and name not in ("h2c", "h2", "h3", "http", "https", "tls")


def is_pseudonym(text: str) -> bool:
    return text == "" or _TOKEN.fullmatch(text) is not None


def is_log_level(text: str) -> bool:
    return text in ("debug", "info", "warning", "error", "critical")


def is_log_format(text: str) -> bool:
    return text in ("text", "json")


def is_access_log_format(text: str) -> bool:
    return text in FORMATS


def is_access_log_field(text: str) -> bool:
    return text in ALWAYS or text in EXTRA


def is_field_name(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def is_handover(text: str) -> bool:
    return text in ("graceful", "keep", "cut")


def is_stop_signal(text: str) -> bool:
    return text in STOP_SIGNALS


def is_file(text: str) -> bool:
    return text != "" and "\0" not in text and not text.endswith("/")


def is_command(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:
        return False
    return "\0" not in text


def is_program(text: str) -> bool:
    return bool(text.strip()) and is_command(text)


def is_variable(text: str) -> bool:
    return text != "" and "=" not in text and "\0" not in text


def is_passable(text: str) -> bool:
    return is_variable(text) and not is_withheld(text)


def is_release_name(text: str) -> bool:
    """Whether a release of this name can have a directory of its own.

    Names that begin with a dot are hidden, and those that begin with a dash look like options to other programs.
    """
    return text[:1] not in ("", ".", "-") and "/" not in text and text.isprintable() and len(text.encode()) <= 200


def is_release_dir(text: str) -> bool:
    # Nothing but the releases may differ in it, or it could not be told which release a directory is.
    head, _, last = text.rpartition("/")
    return text == "" or (last.count("{release}") == 1 and "{" not in head + last.replace("{release}", ""))


def is_link(text: str) -> bool:
    return text == "" or (is_file(text) and "{" not in text)


def is_env_reader(text: str) -> bool:
    return text in ("docker", "honcho", "node", "shell", "systemd")


def is_host_field(text: str) -> bool:
    return text == "" or _HOST_FIELD.fullmatch(text) is not None


def is_statuses(text: str) -> bool:
    parts = text.replace(",", " ").split()
    return bool(parts) and all(_STATUSES.fullmatch(part) and part[:3] <= part[-3:] for part in parts)


def is_backend(text: str) -> bool:
    try:
        Backend.parse(text)
    except ValueError:
        return False
    return True


def is_balance(text: str) -> bool:
    kind, _, name = text.partition("=")
    if kind in ("hash:cookie", "hash:header"):
        return _TOKEN.fullmatch(name) is not None
    return text in ("least", "round-robin", "hash:client")


def is_label(text: str) -> bool:
    # No dot, which parts the names of settings, and none of the signs that logs and metrics would have to quote.
    return _LABEL_TEXT.fullmatch(text) is not None


def is_method(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None and text == text.upper()


def is_rate(text: str) -> bool:
    try:
        return not text or bool(Rate.parse(text))
    except ValueError:
        return False


def is_limit_key(text: str) -> bool:
    kind, colon, name = text.partition(":")
    return text in ("client", "path") or (kind in ("header", "cookie", "jwt") and _TOKEN.fullmatch(name) is not None)


def is_claim(text: str) -> bool:
    return text != "" and is_label(text)


def is_key_place(text: str) -> bool:
    # Over http anybody on the way could put keys of his own in.
    address = _address(text)
    if address is None:
        return text == "" or (text.startswith("/") and is_file(text))
    return address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")


def is_token_place(text: str) -> bool:
    kind, _, name = text.partition(":")
    return text == "header" or (kind == "cookie" and _TOKEN.fullmatch(name) is not None)


def is_auth_server(text: str) -> bool:
    address = _address(text)
    return text == "" or (address is not None and address.scheme == "http" and _VISIBLE.fullmatch(text) is not None)


def is_sign_in(text: str) -> bool:
    is_address = is_own_path(text) or _address(text) is not None
    return text == "" or (is_address and _VISIBLE.fullmatch(text) is not None)


def is_copied_field(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None and text.lower() not in _NEVER_COPIED


def is_endpoint(text: str) -> bool:
    address = _address(text)
    return address is not None and address.path in ("", "/") and not address.query + address.fragment


def is_node(text: str) -> bool:
    return text == "" or (_NODE.fullmatch(text) is not None)


def is_key_prefix(text: str) -> bool:
    return _PATH.fullmatch(text) is not None and not text.endswith("/")


def _address(text: str) -> SplitResult | None:
    """The parts of an http or https address without a user; None for any other text."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    return parts if usable else None


def is_steps(text: str) -> bool:
    try:
        return bool(parse_steps(text))
    except ValueError:
        return False


def is_choice_when_inconclusive(text: str) -> bool:
    return text in ("hold", "promote", "abort")
