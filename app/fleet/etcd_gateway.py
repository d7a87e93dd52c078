"""Questions to etcd over its JSON gateway: which member is asked, who asks, and what each answer that is none means.

Members are asked in turn, the one that answered last first. Nothing here waits without end. Not for several threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from requests import ConnectionError, ConnectTimeout, RequestException, Response, Session
from requests.exceptions import SSLError
from urllib3.exceptions import HTTPError

from app.fleet.fleet_store import StoreRefused, StoreUnreachable

__all__ = ["AnswerLost", "EtcdAccess", "Gateway", "LeaseGone"]

_CONNECT_S: Final = 1.0
_ANSWER_S: Final = 3.0
"""A member without a leader would take seven seconds to say so; with three of them, isolation is noticed in ten."""

_LINE_BYTES: Final = 65_536

_RELOGIN: Final = ("invalid auth token", "user name is empty", "revision of auth store is old")
"""What a token that has ended, or none, is told: 401, 400 and 400. The texts alone tell it from other faults."""


class AnswerLost(StoreUnreachable):
    """The question was sent, and no answer came: what it asked for may have been done, or may be done yet."""


class LeaseGone(Exception):
    """The lease that was named is not there."""


class EtcdAccess(NamedTuple):
    """Where the members are, `http://10.0.0.1:2379`, and how to be let in; each path is a file in PEM, or "".

    The password's file is read at each login, so that it can be changed.
    """

    endpoints: tuple[str, ...]
    user: str = ""
    password_file: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""


class Gateway:
    """Asks one cluster; `StoreUnreachable` and `StoreRefused` say which endpoint answered what."""

    def __init__(self, access: EtcdAccess, answer_s: float = _ANSWER_S) -> None:
        self._access, self._answer_s = access, answer_s
        self._endpoints = list(access.endpoints)
        self._token = ""
        self._session = Session()
        self._session.trust_env = False  # no proxies, no passwords of the environment
        self._session.verify = access.ca or True
        self._session.cert = (access.cert, access.key) if access.cert else None

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def ask(self, path: str, question: Mapping[str, object], *, changes: bool = False) -> dict[str, Any]:
        """The answer. One that `changes` something is sent to one member alone, so that it is not done twice.

        Raises `AnswerLost` then, and `LeaseGone`.
        """
        answer = self._first_answer(path, question, self._answer_s, changes)
        found: dict[str, Any] = _read(answer.content)
        return found

    @contextmanager
    def lines(self, path: str, question: Mapping[str, object], seconds: float) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of an answer without end, each a line, while none is waited for longer than so many seconds."""
        with self._first_answer(path, question, seconds, changes=False, is_stream=True) as answer:
            yield _messages(answer)

    def _first_answer(
        self, path: str, question: Mapping[str, object], seconds: float, changes: bool, is_stream: bool = False
    ) -> Response:
        faults: list[StoreUnreachable | StoreRefused] = []
        for endpoint in tuple(self._endpoints):
            try:
                answer = self._with_login(endpoint, path, question, seconds, is_stream)
            except AnswerLost as fault:
                if changes:
                    self._ask_last(endpoint)
                    raise
                faults.append(fault)
            except (StoreUnreachable, _Untrusted) as fault:
                faults.append(fault)
            else:
                while self._endpoints[0] != endpoint:
                    self._ask_last(self._endpoints[0])
                return answer
        _raise_all(faults)

    def _ask_last(self, endpoint: str) -> None:
        self._endpoints.remove(endpoint)
        self._endpoints.append(endpoint)

    def _with_login(
        self, endpoint: str, path: str, question: Mapping[str, object], seconds: float, is_stream: bool
    ) -> Response:
        user = self._access.user
        if user and not self._token:
            self._log_in(endpoint)
        answer = self._post(endpoint, path, question, seconds, is_stream)
        if user and answer.status_code in (400, 401) and any(it in _message(answer) for it in _RELOGIN):
            self._log_in(endpoint)
            answer = self._post(endpoint, path, question, seconds, is_stream)
        if answer.status_code != 200:
            _raise_for(endpoint, answer)
        return answer

    def _log_in(self, endpoint: str) -> None:
        self._token = ""
        file = self._access.password_file
        try:
            password = Path(file).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, ValueError) as error:
            raise StoreRefused(f"the password for etcd cannot be read: {error}", f"ls -l {file}") from error
        credentials = {"name": self._access.user, "password": password}
        answer = self._post(endpoint, "/v3/auth/authenticate", credentials, self._answer_s)
        if answer.status_code != 200:
            message = _message(answer)
            if "authentication is not enabled" in message:
                raise StoreRefused(
                    f"{endpoint} asks nobody to log in, and [fleet] user is set",
                    "etcdctl auth enable   # or take user out of [fleet]",
                )
            if "authentication failed" in message:
                raise StoreRefused(
                    f"{endpoint} does not let {self._access.user} in: the user or the password in {file} is wrong",
                    f"etcdctl --user=root user passwd {self._access.user}",
                )
            _raise_for(endpoint, answer)
        self._token = _read(answer.content).get("token", "")

    def _post(
        self, endpoint: str, path: str, question: Mapping[str, object], seconds: float, is_stream: bool = False
    ) -> Response:
        try:
            return self._session.post(
                endpoint + path,
                data=json.dumps(question),
                # Bare: what the gateway hands on is the token alone.
                headers={"Authorization": self._token} if self._token else {},
                timeout=(_CONNECT_S, seconds),
                allow_redirects=False,
                stream=is_stream,
            )
        except SSLError as error:
            # A certificate of ours that etcd wants, or does not take, shows as an end of the connection.
            text = f"{endpoint}: no connection by TLS: {_reason(error)}"
            raise _Untrusted(text, "ca, cert and key in [fleet], as etcd wants them") from error
        except RequestException as error:
            if isinstance(error, ConnectTimeout) or _is_refused(error):
                raise StoreUnreachable(f"{endpoint}: {_reason(error)}") from error
            raise AnswerLost(f"{endpoint}: no answer: {_reason(error)}") from error
        except OSError as error:  # what requests says of files that are not there
            raise StoreRefused(str(error), "ca, cert and key in [fleet]") from error


class _Untrusted(StoreRefused):
    """One side does not take the other's certificate; another member may have a better one."""


def _raise_all(faults: list[StoreUnreachable | StoreRefused]) -> NoReturn:
    """For all members together; certificates that are wrong will not mend themselves, so these are told first."""
    texts = "; ".join(map(str, faults))
    refusal = next((fault for fault in faults if isinstance(fault, StoreRefused)), None)
    if refusal is not None:
        raise StoreRefused(f"no connection to etcd: {texts}", refusal.hint)
    raise StoreUnreachable(f"etcd cannot be reached: {texts}", "etcdctl endpoint health --cluster")


def _raise_for(endpoint: str, answer: Response) -> NoReturn:
    """What an answer that is none means."""
    status, message = answer.status_code, _message(answer)
    if "lease not found" in message:
        raise LeaseGone
    if status >= 500:
        raise AnswerLost(f"{endpoint}: {message}")
    if status == 403:
        raise StoreRefused(f"{endpoint}: {message}: [fleet] user has no rights on [fleet] prefix", "etcdctl role get")
    if "space exceeded" in message:
        raise StoreRefused(f"{endpoint}: its database is full", "etcdctl endpoint status; etcdctl alarm list")
    if "user name is empty" in message:
        raise StoreRefused(f"{endpoint} asks who we are", "set user and password_file in [fleet]")
    if status == 404 or not _is_json(answer):
        raise StoreRefused(
            f"{endpoint} is no etcd of version 3.4 or later: status {status}, {message[:80]!r}",
            f"curl -s {endpoint}/version   # and see endpoints in [fleet]",
        )
    raise StoreRefused(f"{endpoint}: {message}")


def _message(answer: Response) -> str:
    try:
        return str(json.loads(answer.content)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200].strip()


def _is_json(answer: Response) -> bool:
    return answer.content.lstrip()[:1] == b"{"


def _read(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreRefused(f"what answers is no etcd: {content[:80]!r}", "see endpoints in [fleet]")
    return found


def _messages(answer: Response) -> Iterator[dict[str, Any]]:
    """Each line as it comes, however it is cut up; ends with the stream, or when nothing comes for too long."""
    rest = b""
    while part := _next_part(answer):
        *whole, rest = (rest + part).split(b"\n")
        yield from (_read(line) for line in whole if line.strip())


def _next_part(answer: Response) -> bytes:
    try:
        part: bytes = answer.raw.read1(_LINE_BYTES)
        return part
    except (HTTPError, OSError):
        return b""


def _is_refused(error: Exception) -> bool:
    """Whether there was no connection, so that nothing was sent."""
    return isinstance(error, ConnectionError) and "NewConnectionError" in repr(error)


def _reason(error: Exception) -> str:
    """An error of requests without the objects that it prints; the innermost says what has happened."""
    while (inner := error.__cause__ or error.__context__) is not None and isinstance(inner, Exception):
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
