"""Keys fetched from their issuer, in bounded time and memory."""

from __future__ import annotations

from gevent import Timeout
from requests import RequestException, Response, Session

__all__ = ["FETCH_S", "MAX_JWKS_BYTES", "fetch"]

FETCH_S = 5.0
"""For all of it, so that a request that waits for new keys is not kept for longer."""

MAX_JWKS_BYTES = 262_144


def fetch(url: str, ca: str = "") -> str:
    """The text at an address. Raises ValueError that says why there is none, or none to be used.

    Args:
        url: the address.
        ca: the file with the authorities of which one has signed the server's certificate; "" for those that requests
            brings.

    A redirect is not followed: where the keys come from is the operator's word, and nobody else's.
    """
    try:
        with Timeout(FETCH_S), Session() as session:
            session.trust_env = False  # no proxies, no passwords, no authorities of the environment
            session.verify = ca or True
            with session.get(url, timeout=FETCH_S, allow_redirects=False, stream=True) as answer:
                return _text(answer)
    except Timeout:
        raise ValueError(f"no complete answer within {FETCH_S:g} s") from None
    except (RequestException, OSError) as error:
        raise ValueError(_reason(error)) from error


def _text(answer: Response) -> str:
    if answer.status_code != 200:
        leads = answer.headers.get("Location", "")
        raise ValueError(f"status {answer.status_code}" + (f", which leads to {leads[:200]}" if leads else ""))
    body = b""
    for part in answer.iter_content(16_384):
        body += part
        if len(body) > MAX_JWKS_BYTES:
            raise ValueError(f"the answer is longer than {MAX_JWKS_BYTES} bytes")
    if not body.strip():
        raise ValueError("the answer is empty")
    return body.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    """An error of requests without the objects that it prints; the innermost says what has happened."""
    while (inner := error.__cause__ or error.__context__) is not None and isinstance(inner, Exception):
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
