"""Logins: who may ask for a path, and what the application is told of who asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from logging import getLogger
from typing import Any
from urllib.parse import quote

from app.errors import LoginRefused, RouterError
from app.logins.auth_server import AuthAnswer
from app.logins.gates import ForwardGate, TokenGate
from app.logins.identity import IdentityFields
from app.logins.logins import Login
from app.logins.refusals import OUTCOMES, REASONS, Refused
from app.notices import Notices
from app.protocol.path_patterns import path_of
from app.proxy.chain import Verdict, Wait
from app.proxy.client_request import ClientBody, ClientRequest, request_parser
from app.proxy.errand import Errand
from app.proxy.passage import Passage
from app.proxy.replies.reply import Reply
from app.proxy.transaction import Recorder, Transaction
from app.settings.tables.router_settings import RouterConfig

__all__ = ["LoginFilter"]

logger = getLogger(__name__)

_PASSED = OUTCOMES.index("passed")
_REFUSED = {reason: OUTCOMES.index(reason) for reason in REASONS}
_OBSERVED = {reason: OUTCOMES.index(f"would be {reason}") for reason in REASONS}

_EVERYDAY = ("no_token", "auth_server")
"""How every visit begins; nobody need read of it in a log, but for the access log."""

_INVALID = (("WWW-Authenticate", 'Bearer realm="login", error="invalid_token"'),)
"""RFC 6750 §3.1, and no more: which of a token's parts was wrong is for whoever made it to find out."""

_STATUSES = frozenset(HTTPStatus)
_WRITTEN_ANEW = (b"content-length", b"date", b"trailer")


class LoginFilter:
    """Asks the logins of one worker about its requests.

    Args:
        config: says how a head is read.
        logins: in order; the first that is about a request decides.
        recorder: counts what they say.
    """

    def __init__(self, config: RouterConfig, logins: Sequence[Login], recorder: Recorder) -> None:
        self._parser = request_parser(config)
        self._logins = logins
        self._recorder = recorder
        self._identity = IdentityFields(name for login in logins for name in login.config.forward_copy)
        self._notices = {(login.config.name, reason): Notices(logger) for login in logins for reason in REASONS}

    def __call__(self, transaction: Transaction) -> Verdict:
        """Judges a request once, though it may be asked about it again."""
        if transaction.passage is not None:
            return transaction.passage.verdict
        request = transaction.request
        head = request.head
        if self._identity.are_in(head):
            head = request.head = self._parser.parse(self._identity.taken_off(head.raw))
        if head.chunked and isinstance(request.body, ClientBody):
            # RFC 9112 §7.1.2 lets us: a server that puts them among the fields would take one for who asks.
            request.body.passes_trailers = False
        login, is_sure = self._login_for(head.target)
        if login is None or login.gate is None:
            return None
        try:
            if not is_sure:
                raise Refused("ambiguous", "more than one login is about what the path could be read as")
            return self._judge(transaction, login, login.gate)
        except Refused as refusal:
            return self._refuse(transaction, login, refusal)

    def _login_for(self, target: bytes) -> tuple[Login | None, bool]:
        """The login that decides about a path, None where none is about it; and whether no other one could be."""
        found = None
        for login in self._logins:
            paths = login.paths
            if login.config.opens:
                if paths.surely_covers(target):
                    break
            elif paths.may_cover(target):
                if found is not None:
                    return found, False
                found = login
                if paths.surely_covers(target):
                    break
        return found, True

    def _judge(self, transaction: Transaction, login: Login, gate: TokenGate | ForwardGate) -> Verdict:
        """What the login's gate says, or the wait for that. Raises Refused."""
        if isinstance(gate, ForwardGate):
            return Wait(Errand(partial(self._ask, transaction, login, gate)), _uncounted)
        token = gate.token(transaction.request.head, not login.config.observes)
        if token is None:
            return Wait(Errand(gate.wait_for_keys), _uncounted)
        self._recorder.count_login(_PASSED)
        transaction.passage = Passage(login.config.name, None, token.claims, token.lines)
        return None

    def _ask(self, transaction: Transaction, login: Login, gate: ForwardGate, client: Any) -> None:
        """Has the auth service judge a request. Raises ClientDisconnected."""
        request = transaction.request
        try:
            answer = gate.ask(request.head, request.forwarding, client)
        except Refused as refusal:
            self._refuse(transaction, login, refusal)
            return
        if not answer.lets_pass:
            self._refuse(transaction, login, Refused("auth_server", f"the auth service said {answer.status}"), answer)
            return
        self._recorder.count_login(_PASSED)
        cookies = b"".join(b"Set-Cookie: %b\r\n" % value for value in answer.values(b"set-cookie"))
        transaction.passage = Passage(
            login.config.name, request_lines=gate.request_lines(answer), response_lines=cookies
        )

    def _refuse(
        self, transaction: Transaction, login: Login, refusal: Refused, answer: AuthAnswer | None = None
    ) -> RouterError | Reply | None:
        """Refuses a request for good, with the auth service's own answer if it has one; or only says that it would."""
        name, reason = login.config.name, refusal.reason
        is_observed = login.config.observes
        self._recorder.count_login((_OBSERVED if is_observed else _REFUSED)[reason])
        verdict = None if is_observed else _verdict(transaction.request, login, refusal, answer)
        if reason not in _EVERYDAY and not (isinstance(verdict, RouterError) and verdict.status >= 500):
            done = "would refuse" if is_observed else "refuses"
            self._notices[name, reason].say(f"login {name} {done} ({reason}): {refusal} ({transaction.told()})")
        told = f"{name}: would be {reason}" if is_observed else f"{name}: {reason}"
        transaction.passage = Passage(told, verdict)
        return verdict


def _uncounted(waited_us: int) -> None:
    """The wait is the auth service's time, or a fetch of keys: not one that the router imposes."""


def _verdict(request: ClientRequest, login: Login, refusal: Refused, answer: AuthAnswer | None) -> RouterError | Reply:
    """What a client is told that is refused."""
    sign_in = login.config.forward_sign_in
    error = REASONS[refusal.reason](str(refusal))
    if sign_in and isinstance(error, LoginRefused) and (answer is None or answer.status == 401) and _is_visit(request):
        return _redirect(request, sign_in)
    if answer is not None:
        return _passed_back(answer)
    if isinstance(error, LoginRefused) and refusal.reason != "no_token":
        error.fields = _INVALID
    return error


def _is_visit(request: ClientRequest) -> bool:
    """Whether a person waits for a page, and not a program for an answer."""
    head = request.head
    accepted = (value for name, value in head.fields if name.lower() == b"accept")
    return head.method in (b"GET", b"HEAD") and any(b"text/html" in value.lower() for value in accepted)


def _redirect(request: ClientRequest, sign_in: str) -> Reply:
    """To where one logs in, and which leads back to what was asked for."""
    head = request.head
    scheme = "https" if request.forwarding.is_secure(head) else "http"
    path = path_of(head.target).decode("latin-1")
    url = f"{scheme}://{head.host.decode('latin-1')}{path}"
    where = sign_in.replace("{url}", _quoted(url)).replace("{path}", _quoted(path))
    return Reply("302 Found", [("Location", where), ("Content-Length", "0"), ("Cache-Control", "no-store")], b"")


def _quoted(text: str) -> str:
    return quote(text, safe="", encoding="latin-1")


def _passed_back(answer: AuthAnswer) -> Reply:
    """The auth service's own answer."""
    phrase = HTTPStatus(answer.status).phrase if answer.status in _STATUSES else "Refused"
    fields = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in answer.fields
        if name.lower() not in _WRITTEN_ANEW
    ]
    fields.append(("Content-Length", str(len(answer.body))))
    return Reply(f"{answer.status} {phrase}", fields, answer.body)
