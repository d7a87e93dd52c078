"""A table of what a client can be told instead of an answer, one class per outcome.

Each carries the HTTP status, the plain-text body, the cause code (metrics label, access log, error page) and whether
`Retry-After` is sent. None derives from `OSError`: gunicorn takes an `OSError` out of an application for client trouble
and may log it only at debug level.
"""

from __future__ import annotations

from typing import ClassVar


class RouterError(Exception):
    """A request that the router itself answers; also the outcome of a fault of our own (500)."""

    status: ClassVar[int] = 500
    cause: ClassVar[str] = "internal_error"
    text: str = "Internal router error"
    retry_after_s: int | None = None
    allow: ClassVar[str] = ""
    fields: tuple[tuple[str, str], ...] = ()


class MalformedRequest(RouterError):
    """The request breaks RFC 9112 or RFC 9110 in a way that makes its framing or routing ambiguous."""

    status = 400
    cause = "malformed_request"
    text = "Bad request"


class MethodNotAllowed(RouterError):
    """CONNECT, or TRACE while `allow_trace` is off.

    `allow` is what the router passes on, as far as everybody knows it: any other token passes, too (RFC 9110 §15.5.6).
    """

    status = 405
    cause = "method_not_allowed"
    text = "Method not allowed"
    allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class RequestTimeout(RouterError):
    """The client took longer than `head_timeout`, or its body ran below `body_rate_floor`."""

    status = 408
    cause = "client_too_slow"
    text = "Request timeout"


class BodyTooLarge(RouterError):
    """The request's body is longer than `max_body_bytes`."""

    status = 413
    cause = "body_too_large"
    text = "Request body too large"


class RequestLineTooLong(RouterError):
    """The request line is longer than `max_request_line_bytes`."""

    status = 414
    cause = "request_line_too_long"
    text = "Request line too long"


class FieldsTooLarge(RouterError):
    """The header section is longer than `max_head_bytes` or has more than `max_fields` fields."""

    status = 431
    cause = "fields_too_large"
    text = "Request header fields too large"


class TooManyConnections(RouterError):
    """A client address holds more than `max_client_connections` connections."""

    status = 429
    cause = "too_many_connections"
    text = "Too many connections"
    retry_after_s = 1


class ClientDisconnected(RouterError):
    """The client went away before its answer was complete; nobody is left to be told.

    Logged as 499 unless the answer's head was sent: then its own status stands.
    """

    status = 499
    cause = "client_disconnected"
    text = "Client closed request"


class VersionNotSupported(RouterError):
    """The request speaks an HTTP version other than 1.0 and 1.1 (RFC 9110 §15.6.6)."""

    status = 505
    cause = "version_not_supported"
    text = "HTTP version not supported"


class NoActiveVersion(RouterError):
    """No state file names an active version, so there is nowhere to send the request."""

    status = 503
    cause = "no_active_version"
    text = "No active backend available"
    retry_after_s = 5


class PoolExhausted(RouterError):
    """All `pool_size` connections to the active version are in use and none came free in time."""

    status = 503
    cause = "pool_exhausted"
    text = "Too many requests in flight"
    retry_after_s = 1


class UpstreamError(RouterError):
    """A gateway failure: the active version did not give a usable answer."""

    status = 502
    cause = "upstream_error"
    text = "Bad gateway"


class UpstreamConnectError(UpstreamError):
    """The active version's port refused the connection or could not be reached."""

    cause = "connect_refused"


class UpstreamConnectTimeout(UpstreamError):
    """No connection to the active version within `connection_timeout`."""

    cause = "connect_timeout"


class UpstreamReset(UpstreamError):
    """The active version closed the connection before a byte of its answer's head was complete.

    `may_be_repeated`: sending the request again cannot make the application execute it twice.
    `was_used`: on a connection that had carried a request before, so that it says nothing about who closed it.
    """

    cause = "upstream_reset"
    may_be_repeated = False
    was_used = False


class UpstreamProtocolError(UpstreamError):
    """The active version's answer is not valid HTTP/1.1."""

    cause = "bad_answer"


class UpstreamReadTimeout(UpstreamError):
    """The active version did not begin or continue its answer within `read_timeout`."""

    status = 504
    cause = "read_timeout"
    text = "Gateway timeout"


class UpstreamDeadline(UpstreamError):
    """The answer was not complete within `response_timeout`."""

    status = 504
    cause = "response_timeout"
    text = "Gateway timeout"


class UpstreamTruncated(UpstreamError):
    """The answer broke off in mid-body; its status is already sent, so the client's connection is aborted."""

    cause = "upstream_truncated"


class TrafficPaused(RouterError):
    """An operator has paused the traffic, and this request cannot wait for it to be resumed.

    `retry_after_s` is the rest of the pause, where that is known.
    """

    status = 503
    cause = "paused"
    text = "Service paused"
    retry_after_s = 5


class HoldQueueFull(RouterError):
    """`hold_queue` requests are waiting already for the traffic to go on."""

    status = 503
    cause = "hold_queue_full"
    text = "Too many requests waiting"
    retry_after_s = 1


class QueueFull(RouterError):
    """Each backend has `max_in_flight` requests, and `queue` of them wait already."""

    status = 503
    cause = "queue_full"
    text = "Service overloaded"
    retry_after_s = 1


class QueueTimeout(RouterError):
    """Each backend has had `max_in_flight` requests for `queue_timeout`."""

    status = 503
    cause = "queue_timeout"
    text = "Service overloaded"
    retry_after_s = 5


class CircuitOpen(RouterError):
    """The active version has refused connections for longer than `hold_timeout`: nobody is made to wait for it."""

    status = 503
    cause = "circuit_open"
    text = "Service unavailable"
    retry_after_s = 5


class UnderMaintenance(RouterError):
    """An operator has put the maintenance page in front of the application.

    Args:
        message: what the operator wants to be said, "" for the usual text.
        retry_after_s: when clients may come back.

    `template` is a page of the operator's own, "" for ours.
    """

    status = 503
    cause = "maintenance"
    template = ""
    text = "Down for maintenance"
    retry_after_s = 120

    def __init__(self, message: str = "", retry_after_s: int = 120) -> None:
        super().__init__("maintenance is on")
        self.text = message or self.text
        self.retry_after_s = retry_after_s


class PreviewRefused(RouterError):
    """The token of a preview link or field is not ours, was changed, or has expired."""

    status = 403
    cause = "preview_refused"
    text = "This preview is not valid or has expired"


class RateLimited(RouterError):
    """A `[[limit]]` does not let the request through.

    Args:
        said: which limit, and whose requests; for logs.
        retry_after_s: when one might be let through.
        fields: what is told of the limit, as (name, value).
    """

    status = 429
    cause = "rate_limited"
    text = "Too many requests"
    retry_after_s = 1

    def __init__(self, said: str = "", retry_after_s: int = 1, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(said)
        self.retry_after_s = retry_after_s
        self.fields = fields


class LoginRefused(RouterError):
    """A path that a `[[login]]` closes was asked for without a login that is good for it. Nobody is told why.

    WWW-Authenticate is as RFC 6750 §3 has it: without a token, it says only that one is wanted.
    """

    status = 401
    cause = "login_refused"
    text = "Login required"
    fields = (("WWW-Authenticate", 'Bearer realm="login"'),)


class LoginForbidden(RouterError):
    """The login is good, but not for this: it has not the `scope` that the `[[login]]` asks for."""

    status = 403
    cause = "login_forbidden"
    text = "Your login does not allow this"
    fields = (("WWW-Authenticate", 'Bearer realm="login", error="insufficient_scope"'),)


class LoginUnavailable(RouterError):
    """Whether a login is good cannot be told: there are no keys, or the auth service does not answer."""

    status = 503
    cause = "login_unavailable"
    text = "Login unavailable"
    retry_after_s = 5


class WorkerFull(RouterError):
    """The worker holds `max_connections` connections, none of them idle, and no other worker took this one."""

    status = 503
    cause = "worker_full"
    text = "Too many connections"
    retry_after_s = 1


class OutOfDescriptors(RouterError):
    """The worker may open no more files, so it can take no connection, or make none to a version."""

    status = 503
    cause = "out_of_descriptors"
    text = "Service overloaded"
    retry_after_s = 1


class HandoverCut(RouterError):
    """What has no end by itself was still there at its deadline, on a version that is not active any more: an event
    stream in the middle of an event, or a tunnel that knows no goodbye.
    """

    status = 503
    cause = "handover_cut"
    text = "Service restarting"
    retry_after_s = 1


class WorkerStopped(RouterError):
    """The worker ends and has waited for this request for as long as it may."""

    status = 503
    cause = "worker_stopped"
    text = "Service restarting"
    retry_after_s = 1


CAUSES: tuple[str, ...] = (
    "none",
    "internal_error",
    # what was asked, and who asked
    *("malformed_request", "method_not_allowed", "client_too_slow", "body_too_large", "request_line_too_long"),
    *("fields_too_large", "too_many_connections", "client_disconnected", "version_not_supported"),
    # where it was to go
    *("no_active_version", "pool_exhausted", "upstream_error", "connect_refused", "connect_timeout"),
    *("upstream_reset", "bad_answer", "read_timeout", "response_timeout", "upstream_truncated"),
    # what kept it from going there
    *("paused", "hold_queue_full", "circuit_open", "maintenance", "preview_refused"),
    # this worker
    *("worker_full", "out_of_descriptors", "handover_cut", "worker_stopped"),
    # what kept it from going there, again
    *("queue_full", "queue_timeout"),
    "rate_limited",
    # who asked
    *("login_refused", "login_forbidden", "login_unavailable"),
)
"""Every cause code; its index is what the shared metrics file stores, which has room for 64: a new one goes to the end.
"none" is a request without error."""


def _failures(cls: type[RouterError]) -> set[str]:
    """The cause codes of a class and its children that clients are told with a 5xx."""
    own = {cls.cause} if cls.status >= 500 else set()
    return own.union(*map(_failures, cls.__subclasses__()))


FAILURES: frozenset[str] = frozenset(_failures(RouterError))
"""Causes of requests that failed, as the metrics count them; with the others the client left, or asked wrongly."""
