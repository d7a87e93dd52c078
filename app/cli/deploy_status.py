"""`blue_green_deploy status`: gathers what it can see of a deployment, and says what state that is in."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace

from app.cli.deploy_call import Call
from app.cli.deploy_listeners import listeners_of
from app.cli.deploy_traffic import backend_rows
from app.cli.deploy_views import Overview, status_json, status_text
from app.cli.entry import print_error
from app.deploy.release.current_link import look
from app.deploy.release.differences import differences
from app.facts import Facts
from app.operator_errors import StateError, StateMissing
from app.situation import Situation, decide, situation_json
from app.state.listening import written

__all__ = ["print_status"]


def print_status(call: Call) -> int:
    """Print both versions, the router and what is wrong; gives the situation's exit code."""
    try:
        state, fault = call.known()
        if fault is None and _router_knows_more(call):
            call.store.read()
    except StateError as error:
        return _without_state(call, error)
    overview = Overview(
        state=state,
        checks=call.checks(state),
        backends={version.name: call.deployment.named_backends(version) for version in state.versions.values()},
        elsewhere={it.name: at for it in state.versions.values() if (at := written(it, call.deployment.backends))},
        rows=backend_rows(call.config, state, call.deployment.addresses),
        traffic=call.traffic,
        router=call.router(),
        state_file=call.store.path,
        logs={name: call.processes.log_path(name) for name in state.versions},
        environments=call.environments(state),
        link=look(call.deployment, state),
        differs=differences(call.deployment, state),
        fault=str(fault or ""),
        name=call.config.name,
        found=call.processes.find_all(state),
        fleet=_fleet(call),
        listeners={version.name: listeners_of(call.deployment, version) for version in state.versions.values()},
    )
    print(json.dumps(status_json(overview), indent=2) if call.flag("--json") else status_text(overview))
    if fault is not None:
        print_error(fault)
    return overview.situation.kind.exit_code


def _fleet(call: Call) -> Mapping[str, object] | None:
    """How the machine stands to its fleet, where it belongs to one."""
    if not call.fleet.is_on:
        return None
    from app.fleet.sight import fleet_json
    from app.fleet.sight_file import fleet_now

    return fleet_json(*fleet_now(call.store.folder, call.fleet))


def _router_knows_more(call: Call) -> bool:
    """Whether a router serves by a state whose file is gone; where there was none yet, it knows no more than we do."""
    if call.store.path.exists() or call.router() is None:
        return False
    return _told_by_router(call, StateMissing("")).word not in ("unknown", "inactive", "silent", "new")


def _without_state(call: Call, fault: StateError) -> int:
    """The same where no file is usable: only a running router may still know where requests go."""
    now = _told_by_router(call, fault)
    known = {"situation": situation_json(now), "state_file": str(call.store.path), "state_fault": str(fault)}
    print(json.dumps(known, indent=2) if call.flag("--json") else now.text)
    print_error(StateError(str(fault), now.advice or fault.hint))
    return now.kind.exit_code


def _told_by_router(call: Call, fault: StateError) -> Situation:
    router = call.router()
    if router is None:
        now = decide(Facts(time.time(), None, state_fault=str(fault), silence="none runs for this state file"))
        return replace(now, advice=fault.hint)  # a router that starts without a state would serve nobody
    from app.cli.health_view import read_health, situation_in
    from app.cli.router_client import RouterClient

    return situation_in(read_health(RouterClient(call.config, router.port)))
