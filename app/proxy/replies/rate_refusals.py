"""What those are told who ask too often: they are many, so each form of it is composed once."""

from __future__ import annotations

from app.errors import RateLimited
from app.proxy.replies.audience import Audience
from app.proxy.replies.reply import accepted, error_reply, reply_bytes
from app.proxy.rewrite.date import date_line
from app.proxy.transaction import Transaction

__all__ = ["RateRefusals"]

_Form = tuple[list[bytes], list[bytes], int]
"""Head and body, each cut where a request's id belongs, and how many bytes the body has."""

_MOST_FORMS = 64


class RateRefusals:
    """The replies to requests that a limit refuses, the same to the byte as those of the ordinary way.

    Args:
        audience: who is told the causes of errors.
    """

    __slots__ = ("_audience", "_forms")

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._forms: dict[tuple[RateLimited, str, bool, bool, int], _Form] = {}

    def compose(self, transaction: Transaction, error: RateLimited) -> tuple[bytes, int]:
        """What goes to the wire, and how many bytes of it are the body.

        A limit refuses all of a second with one and the same `error`, so who is told it a second time finds its form.
        """
        request, request_id = transaction.request, transaction.request_id
        head = request.head
        is_head = head.method == b"HEAD"
        key = (error, accepted(head), self._audience.may_know(request), is_head, len(request_id))
        form = self._forms.get(key)
        if form is None:
            # No client's id has a tilde in it, and in no form an id is written in another way than it came.
            stand_in = b"~" * len(request_id)
            reply = error_reply(error, head, transaction.target.name, stand_in, key[2])
            data, size = reply_bytes(reply, head, b"")
            body_at = len(data) - size
            form = data[: body_at - 2].split(stand_in), data[body_at:].split(stand_in), size
            if len(self._forms) == _MOST_FORMS:
                self._forms.clear()
            self._forms[key] = form
        first, body, size = form
        added = date_line() + request.persistence()
        return b"%b%b\r\n%b" % (request_id.join(first), added, request_id.join(body)), size
