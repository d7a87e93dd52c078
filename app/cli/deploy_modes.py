"""`blue_green_deploy pause`, `resume`, `maintenance` and `preview`: what they ask for and what they tell."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime, timedelta
from datetime import time as time_of_day
from typing import Final

from app.cli.deploy_call import Call, help_command
from app.cli.output import check_reader
from app.cli.terminal import clock_text, dim, duration_text, moment_text
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.operator_errors import UsageError
from app.settings.checks import is_network
from app.state.preview_token import FIELD, PARAMETER

__all__ = ["COMMANDS"]

_DAY_S = 86_400.0
_PREVIEW_S = 3600.0

_LONGEST_MESSAGE = 1000
"""The message stands in the state file, which each worker reads again at each change."""


def pause(call: Call) -> int:
    """Hold new requests; with --drain, return at a moment at which none is in flight."""
    drain = call.flag("--drain")
    held = call.modes.pause(call.seconds("--max-hold", 1, 3600), drain=drain)
    if drain:
        print("⏸️  Quiet: no request is in flight, and new ones wait")
    else:
        print("⏸️  Paused: new requests wait; those in flight come to their end")
    left_s = max(0.0, held.until - time.time())
    print(f"   They flow again at {clock_text(held.until)} ({left_s:.0f} s from now), or with: {PROGRAM} resume")
    if not call.deployment.has_router:
        print("⚠️  The router is not running, so there is nothing to hold yet")
    return 0


def resume(call: Call) -> int:
    """Let requests through again."""
    held_s = call.modes.resume()
    if held_s is None:
        print("   Nothing is paused: requests flow")
    else:
        print(f"▶️  Requests flow again, first come first served; they were held for {held_s:.1f} s")
    return 0


def maintenance(call: Call) -> int:
    """Put the maintenance page up, or take it away."""
    if call.flag("off"):
        was_on = call.modes.end_maintenance()
        print("✅ Maintenance is over: requests are answered as usual" if was_on else "   There is no maintenance")
        return 0
    message, allow = call.text("--message"), tuple(call.texts("--allow"))
    if len(message or "") > _LONGEST_MESSAGE:
        raise UsageError(
            f"--message has {len(message or '')} characters; at most {_LONGEST_MESSAGE} are shown", help_command()
        )
    for network in allow:
        if not is_network(network):
            raise UsageError(
                f"--allow={network}: expected an IP address or a network such as 10.0.0.0/8 "
                "(no bits set beyond the prefix)",
                help_command(),
            )
    until = _end(call)
    retry_after_s = round(call.seconds("--retry-after", 0, _DAY_S)) if call.text("--retry-after") else None
    if until is not None and retry_after_s is not None:
        raise UsageError("--retry-after: clients are told the end that --for or --until says", help_command())
    on = call.modes.start_maintenance(message, retry_after_s, allow or None, until)
    print(f"🚧 Maintenance: clients get 503 and Retry-After: {on.comes_back_in_s(time.time())}")
    if on.message:
        print(f"   The page says: {on.message}")
    print(f"   Let through: {', '.join(on.allow) if on.allow else 'nobody (--allow=CIDR lets your own network in)'}")
    print(f"   Health checks of balancers ({call.app.health_path}) are still answered 200")
    if on.until is None:
        print(f"   Take it down with: {PROGRAM} maintenance off")
    else:
        print(f"   It ends by itself at {moment_text(on.until)}, or with: {PROGRAM} maintenance off")
    return 0


def _end(call: Call) -> float | None:
    """The wall time at which maintenance is to end; None where nothing was said of it."""
    lasts, until, now = call.text("--for"), call.text("--until"), time.time()
    if lasts and until:
        raise UsageError("--for and --until both say when it ends; one of them is enough", help_command())
    if lasts:
        return now + call.seconds("--for", 1, 30 * _DAY_S)
    if not until:
        return None
    end = _moment(until, datetime.fromtimestamp(now).astimezone())
    if end is None or not now < end <= now + 30 * _DAY_S:
        raise UsageError(
            f"--until={until}: expected a time to come, 22:30 or 2026-11-23T22:30, within 30 days", help_command()
        )
    return end


def _moment(text: str, now: datetime) -> float | None:
    """The next 22:30 by the clock of this machine, or that of a day; None for what is no time."""
    with suppress(ValueError):
        clock = time_of_day.fromisoformat(text)
        today = datetime.combine(now.date(), clock)
        # By the calendar: where the clocks change tonight, a day has not 24 hours.
        moment = today if today.astimezone() > now else today + timedelta(days=1)
        return moment.astimezone().timestamp()
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None


def preview(call: Call) -> int:
    """Print a link, and a field for programs, that show a version through the router."""
    lasts_s = call.seconds("--for", 1, 30 * _DAY_S) if call.text("--for") else _PREVIEW_S
    version, token = call.modes.preview(call.text("VERSION"), lasts_s)
    check_reader()
    state, router = call.observed(), call.router()
    url = f"http://127.0.0.1:{router.port if router else call.config.main_port}/"
    if call.flag("--json"):
        link, ends = f"{url}?{PARAMETER}={token}", time.time() + lasts_s
        shown = {"version": version, "url": link, "field": FIELD, "token": token, "expires_at": ends}
        print(json.dumps(shown, indent=2))
        return 0
    print(f"👀 Preview of {version}, for {duration_text(lasts_s)}:")
    print(f"   {url}?{PARAMETER}={token}")
    print(f"   curl -H '{FIELD}: {token}' {url}")
    print(dim("   From elsewhere, put the router's own name in place of 127.0.0.1; the link works for whoever has it."))
    if router is None:
        print(f"⚠️  The router is not running: {ROUTER_PROGRAM} start")
    if not call.deployment.runs(state.version(version)):
        print(f"⚠️  {version} does not run: {PROGRAM} start {version}")
    if version == state.active_version:
        print(f"   {version} is active, so everybody sees it already")
    return 0


COMMANDS: Final = {"pause": pause, "resume": resume, "maintenance": maintenance, "preview": preview}
"""By the word on the command line."""
