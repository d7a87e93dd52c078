"""etcd as the fleet's store: keys below one root, changes that compare revisions, leases, and a watch as a hint.

The gateway has its ways: whole numbers are texts, what is zero, false or empty is left out, a misspelt field is
ignored. A put takes a key off its lease unless it names it.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.fleet.etcd_gateway import AnswerLost, Gateway, LeaseGone
from app.fleet.fleet_store import Expect, StoredValue, StoreRefused, StoreSnapshot, StoreUnreachable

__all__ = ["Etcd"]

_REST_S: Final = 0.5
"""After a watch that ended for no reason of ours, so that nobody asks for the next in a hot loop."""


class Etcd:
    """A `Store`: every key is below `root`, such as "/traffic_router/shop/", and is named without it."""

    def __init__(self, gateway: Gateway, root: str) -> None:
        self._gateway, self._root = gateway, root

    def read(self, prefix: str) -> StoreSnapshot:
        """All keys that begin so; asked of the majority, so never older than what was changed before."""
        answer = self._gateway.ask("/v3/kv/range", self._range(prefix))
        entries = {_decoded(kv["key"]).removeprefix(self._root): _stored(kv) for kv in answer.get("kvs", ())}
        return StoreSnapshot(int(answer["header"]["revision"]), entries)

    def change(
        self, expects: Sequence[Expect], puts: Mapping[str, str], deletes: Sequence[str] = (), lease: int = 0
    ) -> int | None:
        """Where no answer comes, the keys tell whether it was made; raises `AnswerLost` if they do not yet."""
        question = {
            "compare": [
                {"key": self._key(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
                for key, revision in expects
            ],
            "success": [
                *({"request_put": self._put(key, value, lease)} for key, value in puts.items()),
                *({"request_delete_range": {"key": self._key(key)}} for key in deletes),
            ],
        }
        try:
            answer = self._gateway.ask("/v3/kv/txn", question, changes=True)
        except LeaseGone:
            return None
        except AnswerLost as lost:
            return self._what_became_of_it(lost, expects, puts, deletes)
        return int(answer["header"]["revision"]) if answer.get("succeeded") else None

    def _what_became_of_it(
        self, lost: AnswerLost, expects: Sequence[Expect], puts: Mapping[str, str], deletes: Sequence[str]
    ) -> int | None:
        try:
            found = self.read("").entries
        except StoreUnreachable:
            raise lost from None
        made = {now.revision for key, value in puts.items() if (now := found.get(key)) and now.value == value}
        is_whole = all((now := found.get(key)) and now.value == value for key, value in puts.items())
        before = max((revision for _, revision in expects), default=0)
        if is_whole and len(made) == 1 and min(made) > before and not any(key in found for key in deletes):
            return made.pop()
        if any(_revision(found.get(key)) != revision for key, revision in expects):
            return None
        raise lost

    def grant(self, seconds: int) -> int:
        return int(self._gateway.ask("/v3/lease/grant", {"TTL": str(seconds)})["ID"])

    def keep(self, lease: int) -> bool:
        answer = self._gateway.ask("/v3/lease/keepalive", {"ID": str(lease)})
        return "TTL" in answer.get("result", {})

    def revoke(self, lease: int) -> None:
        try:
            self._gateway.ask("/v3/lease/revoke", {"ID": str(lease)})
        except LeaseGone:
            pass  # as it shall be

    def wait(self, prefix: str, revision: int, seconds: float) -> None:
        """A connection of its own for each wait, so that none that is half open is waited on for longer.

        Raises `StoreUnreachable` only where no watch can be begun; one that breaks off is over sooner.
        """
        ends = time.monotonic() + seconds
        question = {"create_request": {**self._range(prefix), "start_revision": str(revision + 1)}}
        with self._gateway.lines("/v3/watch", question, seconds) as messages:
            is_over = _has_changed(messages, ends)
        if not is_over:
            time.sleep(max(0.0, min(_REST_S, ends - time.monotonic())))

    def _key(self, key: str) -> str:
        return _encoded((self._root + key).encode())

    def _put(self, key: str, value: str, lease: int) -> dict[str, str]:
        return {"key": self._key(key), "value": _encoded(value.encode()), "lease": str(lease)}

    def _range(self, prefix: str) -> dict[str, str]:
        """All keys that begin so: up to the one whose last byte is the next; UTF-8 has no byte that is the last."""
        first = (self._root + prefix).encode()
        return {"key": _encoded(first), "range_end": _encoded(first[:-1] + bytes([first[-1] + 1]))}


def _has_changed(messages: Iterable[Mapping[str, Any]], ends: float) -> bool:
    """Whether the watch has told of a change, or that it cannot tell and all is to be read anew.

    Raises `StoreRefused` where we may not watch: that is an answer of 200 that is canceled.
    """
    for message in messages:
        result = message.get("result", {})
        if "events" in result or "compact_revision" in result:
            return True
        if reason := result.get("cancel_reason", ""):
            if "permission denied" in reason:
                raise StoreRefused(f"etcd does not let us watch: {reason}", "etcdctl role get")
            return False
        if "error" in message or result.get("canceled") or time.monotonic() >= ends:
            return False
    return False


def _revision(stored: StoredValue | None) -> int:
    return 0 if stored is None else stored.revision


def _stored(kv: Mapping[str, str]) -> StoredValue:
    return StoredValue(_decoded(kv.get("value", "")), int(kv["mod_revision"]), int(kv.get("lease", "0")))


def _encoded(raw: bytes) -> str:
    return b64encode(raw).decode()


def _decoded(text: str) -> str:
    # What others have written below the root need not be text; whoever reads it as a record is told.
    return b64decode(text).decode("utf-8", "replace")
