"""`blue_green_deploy fleet`: one command for all machines. It talks to etcd alone; the nodes' agents do the rest."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

from app.cli.deploy_call import Call, help_command
from app.cli.fleet_views import FleetPrinter, history_lines, outcome_json, rollout_json, status_json, status_lines
from app.cli.terminal import dim
from app.command_line import PROGRAM
from app.deploy.record.history import user_name
from app.fleet.coordinator import Coordinator, Seen
from app.fleet.etcd import Etcd
from app.fleet.etcd_gateway import EtcdAccess, Gateway
from app.fleet.fleet_store import Store
from app.fleet.fleet_view import FleetView
from app.fleet.leading import Asked, RolloutEnd
from app.fleet.records import PAUSED, FleetRollout, Initiator, RolloutPhase, Wanted
from app.fleet.registration import drained_key
from app.operator_errors import ConfigError, OperatorError, UnhealthyVersion, UsageError
from app.settings.checks import is_node
from app.settings.tables.fleet_settings import FleetConfig

__all__ = ["fleet", "open_gateway"]

HOLD_S: Final = 2.0
"""The longest that --together lets requests wait."""

_LOOK_S: Final = 2.0


def fleet(call: Call) -> int:
    """One of the commands about the fleet; raises `ConfigError` on a machine that belongs to none."""
    if not call.fleet.is_on:
        raise ConfigError(
            "this machine belongs to no fleet", "[fleet] name and endpoints in traffic_router.toml, on each node"
        )
    with closing(open_gateway(call.fleet)) as gateway:
        store = Etcd(gateway, call.fleet.root)
        return next(command for word, command in _COMMANDS.items() if call.flag(word))(call, store)


def open_gateway(config: FleetConfig) -> Gateway:
    """The way to the fleet's etcd, by the settings."""
    access = EtcdAccess(config.endpoints, config.user, config.password_file, config.ca, config.cert, config.key)
    return Gateway(access)


def _me() -> Initiator:
    return Initiator(f"{user_name()} on {socket.gethostname()}", time.time())


# --- what is led ------------------------------------------------------------------------------------------


def _deploy(call: Call, store: Store) -> int:
    printer = FleetPrinter(is_quiet=call.flag("--json"))
    coordinator = _coordinator(store, printer)
    if call.flag("--resume"):
        if call.text("--release") or call.text("--dir"):
            raise UsageError("--resume: what is led on has its release already", help_command())
        return _told(call, store, printer, coordinator.resume)
    least = call.count("--min-nodes") if call.text("--min-nodes") else call.fleet.min_nodes
    asked = Asked(
        Wanted("", call.text("--release"), call.text("--dir")),
        call.text("--waves") or "100%",
        call.seconds("--watch", 1, 86_400) if call.text("--watch") else 0.0,
        HOLD_S if call.flag("--together") else 0.0,
        least or None,
    )
    if not asked.wanted.release and not asked.wanted.dir:
        raise UsageError("fleet deploy: what is to be deployed? --release=NAME, --dir=DIR, or both", help_command())
    return _told(call, store, printer, lambda: coordinator.deploy(asked))


def _roll_back(call: Call, store: Store) -> int:
    printer = FleetPrinter(is_quiet=call.flag("--json"))
    return _told(call, store, printer, _coordinator(store, printer).roll_back)


def _coordinator(store: Store, tell: Callable[[Seen], None]) -> Coordinator:
    def new_id() -> str:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{secrets.token_hex(3)}"

    return Coordinator(store, _me(), tell, new_id)


def _told(call: Call, store: Store, printer: FleetPrinter, lead: Callable[[], tuple[FleetRollout, RolloutEnd]]) -> int:
    """Lead, and say what came of it."""
    rollout, end = lead()
    if call.flag("--json"):
        print(json.dumps(outcome_json(FleetView(store.read("")), rollout, end), indent=2))
    if not end.is_done:
        printer.show_evidence()
        raise _failure(rollout, end)
    if not call.flag("--json"):
        count = len(rollout.nodes)
        print(f"✅ {rollout.wanted.title} is active on {count} node{'s' * (count != 1)} (epoch {rollout.epoch})")
        if end.note:
            print(f"⚠️  {end.note}: a node that comes back is brought up to this by its agent")
        print(dim(f"   Back to what was before: {PROGRAM} fleet rollback"))
    return 0


def _failure(rollout: FleetRollout, end: RolloutEnd) -> OperatorError:
    if rollout.phase is RolloutPhase.ABORTED:
        text = f"{rollout.wanted.title} was not committed: {end.note}. Every node serves what it served before"
        return UnhealthyVersion(text, f"{PROGRAM} fleet status")
    if rollout.is_way_back and rollout.phase is RolloutPhase.DONE:
        text = f"{rollout.was.title if rollout.was else 'the release'} was taken back: {end.note}"
        return UnhealthyVersion(text, f"{PROGRAM} fleet status")
    return OperatorError(
        f"nobody leads {rollout.wanted.title} from here any more: {end.note}", f"{PROGRAM} fleet status"
    )


# --- what is looked at ------------------------------------------------------------------------------------


def _status(call: Call, store: Store) -> int:
    while True:
        snapshot = store.read("")
        if call.flag("--json"):
            print(json.dumps(status_json(call.fleet.name, snapshot), indent=None if call.flag("--follow") else 2))
        else:
            print(*status_lines(call.fleet.name, snapshot), sep="\n", flush=True)
        if not call.flag("--follow"):
            return 0
        store.wait("", snapshot.revision, _LOOK_S)


def _history(call: Call, store: Store) -> int:
    view = FleetView(store.read(""))
    rollouts = [it for id_ in view.rollout_ids if (it := view.rollout(id_)) is not None][-call.count("--limit") :]
    if call.flag("--json"):
        print(json.dumps([rollout_json(it) for it in rollouts], indent=2))
    else:
        print(*history_lines(rollouts), sep="\n")
    return 0


# --- what is set ------------------------------------------------------------------------------------------


def _pause(call: Call, store: Store) -> int:
    _set(store, PAUSED)
    return _said(call, {"paused": True}, f"⏸️  No rollout begins or goes on until: {PROGRAM} fleet resume")


def _resume(call: Call, store: Store) -> int:
    was = _unset(store, PAUSED)
    return _said(call, {"paused": False}, "▶️  Rollouts go on" if was else "   The fleet is not paused")


def _node(call: Call, store: Store) -> int:
    """Take a node out of the balancer in front, by its health endpoint, or let it in again."""
    node, drains = _named(call), call.flag("drain")
    view = FleetView(store.read(""))
    if drains and node not in view.nodes:
        raise OperatorError(f"no node {node} is registered: {', '.join(view.nodes) or 'none is'}", _shown())
    if drains:
        _set(store, drained_key(node))
        text = f"🚪 {node} is being drained: /__router_health there says 503, so that a balancer sends it nothing new"
    else:
        was = _unset(store, drained_key(node))
        text = f"✅ {node} takes part again" if was else f"   {node} is not drained"
    return _said(call, {"node": node, "drained": drains}, text)


def _forget(call: Call, store: Store) -> int:
    """Take away what is kept of a node that will not come back."""
    node = _named(call)
    view = FleetView(store.read(""))
    if node in view.nodes:
        raise OperatorError(f"{node} is registered, so it is alive", f"stop its agent first; {_shown()}")
    keys = tuple(key for key in view.keys_about(node))
    if keys:
        store.change((), {}, keys)
    return _said(
        call, {"node": node, "keys": len(keys)}, f"✅ {node} is forgotten" if keys else f"   {node} is not known"
    )


def _shown() -> str:
    return f"{PROGRAM} fleet status"


def _named(call: Call) -> str:
    node = call.text("NODE") or ""
    if not is_node(node):
        raise UsageError(f"{node!r} cannot be the name of a node", help_command())
    return node


def _set(store: Store, key: str) -> None:
    store.change((), {key: _me().to_json()})


def _unset(store: Store, key: str) -> bool:
    """Whether it was there."""
    was = key in store.read(key).entries
    if was:
        store.change((), {}, (key,))
    return was


def _said(call: Call, data: Mapping[str, object], text: str) -> int:
    print(json.dumps(data) if call.flag("--json") else text)
    return 0


_COMMANDS: Final[Mapping[str, Callable[[Call, Store], int]]] = {
    "node": _node,
    "deploy": _deploy,
    "rollback": _roll_back,
    "status": _status,
    "history": _history,
    "pause": _pause,
    "resume": _resume,
    "forget": _forget,
}
"""By the word after `fleet`; `node drain` has a word of another command's."""
