"""Visits of the standby: the token taken off a request, so that no application ever sees one, and judged."""

from __future__ import annotations

from time import time

from app.errors import NoActiveVersion, PreviewRefused, RouterError
from app.protocol.fields import cookie_taken_off, parted
from app.proxy.chain import Verdict
from app.proxy.client_request import request_parser
from app.proxy.replies.reply import Reply
from app.proxy.transaction import PreviewTokens, Transaction
from app.routing.router import TrafficRouter
from app.settings.tables.router_settings import RouterConfig
from app.state.model import BlueGreenState
from app.state.preview_token import FIELD, PARAMETER, verify

__all__ = ["PREVIEW_PARAMETER", "PreviewFilter", "taken_off"]

PREVIEW_PARAMETER = PARAMETER.encode()
"""What is looked for in each head: the name of the query parameter and of the cookie."""

_FIELD = FIELD.lower().encode()

_LEAVE = b"off"
"""In place of a link's token: the browser's preview ends before its time."""


def taken_off(raw: bytes) -> tuple[bytes, PreviewTokens]:
    """A request's head without every token in it, and the first token of each kind."""
    line, *fields = raw[:-4].split(b"\r\n")
    method, target, version = line.split(b" ")
    in_query = b""
    path, _, query = target.partition(b"?")
    if PREVIEW_PARAMETER in query:
        others, in_query = parted(query, b"&", PREVIEW_PARAMETER)
        target = path + b"?" + others if others else path
    kept = [b" ".join((method, target, version))]
    in_field = in_cookie = b""
    for field in fields:
        name, _, value = field.partition(b":")
        if name.lower() == _FIELD:
            in_field = in_field or value.strip(b" \t")
            continue
        if name.lower() == b"referer" and PREVIEW_PARAMETER in value:
            continue  # from a page that is shown under a link's own address, as the answer to a POST is
        if name.lower() == b"cookie" and PREVIEW_PARAMETER in value:
            field, found = cookie_taken_off(field, PREVIEW_PARAMETER)
            in_cookie = in_cookie or found
            if not field:
                continue
        kept.append(field)
    return b"\r\n".join(kept) + b"\r\n\r\n", PreviewTokens(in_query, in_field, in_cookie)


class PreviewFilter:
    """Takes tokens off the requests of one worker and chooses the standby for those that are good.

    Args:
        config: says how a head is read.
        router: knows the key that tokens are signed with.
    """

    def __init__(self, config: RouterConfig, router: TrafficRouter) -> None:
        self._parser = request_parser(config)
        self._router = router

    def concerns(self, state: BlueGreenState | None) -> bool:
        """Whether that state has a key for tokens, which a link or a cookie may bear."""
        return state is not None and bool(state.preview_key)

    def __call__(self, transaction: Transaction) -> Verdict:
        """Judges a token each time that it is asked, for the state may have moved; it is taken off once."""
        tokens = transaction.tokens
        if tokens is None:
            head = transaction.request.head
            if not head.asks_for_preview and not (self._router.has_previews and PREVIEW_PARAMETER in head.raw):
                return None
            raw, tokens = taken_off(head.raw)
            transaction.request.head = self._parser.parse(raw)
            transaction.tokens = tokens
        try:
            transaction.is_preview = self._shows_standby(tokens)
        except RouterError as error:
            return error
        if tokens.query and transaction.request.head.method in (b"GET", b"HEAD"):
            transaction.is_preview = True  # counted with the visits, wherever it leads
            return _to_clean_address(transaction, tokens)
        transaction.pick = self._router.standby if transaction.is_preview else None
        return None

    def _shows_standby(self, tokens: PreviewTokens) -> bool:
        """Whether the request goes to the standby rather than to the active version.

        A link or a field that is no good is refused: who asks for a preview must not take the active version
        for it. A cookie may simply have outlived its preview, so that one is ignored.

        Raises PreviewRefused.
        """
        if tokens.query == _LEAVE:
            return False
        said = tokens.query or tokens.field
        shown = self._shown(said or tokens.cookie)
        if said and shown is None:
            raise PreviewRefused("the token is not valid or has expired")
        state = self._router.seen
        return shown is not None and state is not None and shown == state.standby_version

    def _shown(self, token: bytes) -> str | None:
        try:
            self._router.active()
        except NoActiveVersion:
            return None
        state = self._router.seen
        return verify(state.preview_key, token.decode("latin-1"), time()) if state is not None else None


def _to_clean_address(transaction: Transaction, tokens: PreviewTokens) -> Reply:
    """The redirect of a link to the same address without its token, which goes into a cookie or ends one."""
    request = transaction.request
    token, lasts_s = "", 0
    if tokens.query != _LEAVE:
        token = tokens.query.decode("latin-1")
        lasts_s = max(0, int(token.split(".")[1]) - int(time()))
    location = request.head.target.decode("latin-1")
    if location.startswith("//"):
        location = "/." + location  # a reference that began with two slashes would name another host
    cookie = f"{PARAMETER}={token}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Lax"
    if request.forwarding.is_secure(request.head):
        cookie += "; Secure"
    fields = [
        ("Location", location),
        ("Set-Cookie", cookie),
        ("Cache-Control", "no-store"),
        # Files that the browser has stored of the active version would be shown on the standby's pages.
        ("Clear-Site-Data", '"cache"'),
        ("Referrer-Policy", "no-referrer"),
        ("Content-Length", "0"),
    ]
    return Reply("303 See Other", fields, b"")
