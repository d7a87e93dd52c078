"""Run two versions of your application, blue and green, and move the traffic between them without loss.

Usage:
  blue_green_deploy status [--json]
  blue_green_deploy start VERSION [--dir=DIR] [--release=NAME] [--command=COMMAND]
  blue_green_deploy start VERSION --reconfigure
  blue_green_deploy start VERSION --demo [--release=NAME]
  blue_green_deploy run VERSION [--instance=N] [--dir=DIR] [--release=NAME] [--command=COMMAND]
  blue_green_deploy run VERSION --demo [--instance=N] [--release=NAME]
  blue_green_deploy stop VERSION [--force] [--on-timeout=WHAT]
  blue_green_deploy restart VERSION [--reconfigure] [--on-timeout=WHAT]
  blue_green_deploy scale VERSION COUNT [--on-timeout=WHAT]
  blue_green_deploy drain VERSION --backend=WHICH [--force] [--on-timeout=WHAT]
  blue_green_deploy undrain VERSION --backend=WHICH
  blue_green_deploy health-check [VERSION] [--json]
  blue_green_deploy switch VERSION [--force] [--wait] [--on-timeout=WHAT] [--local]
  blue_green_deploy rollback [--to=N] [--wait] [--on-timeout=WHAT] [--local]
  blue_green_deploy deploy [--dir=DIR] [--release=NAME] [--command=COMMAND] [--watch=SECONDS]
                           [--demo] [--stop-old] [--on-timeout=WHAT] [--canary] [--local]
  blue_green_deploy canary [--dir=DIR] [--release=NAME] [--command=COMMAND] [--demo] [--steps=STEPS]
                           [--sticky=WHO] [--require-proof] [--on-inconclusive=WHAT]
                           [--stop-old] [--on-timeout=WHAT]
  blue_green_deploy canary status [--follow] [--json]
  blue_green_deploy canary (promote | hold | resume | abort)
  blue_green_deploy preview [VERSION] [--for=SECONDS] [--json]
  blue_green_deploy pause [--max-hold=SECONDS] [--drain]
  blue_green_deploy resume
  blue_green_deploy maintenance on [--message=TEXT] [--allow=CIDR]...
                           [--for=SECONDS] [--until=TIME] [--retry-after=SECONDS]
  blue_green_deploy maintenance off
  blue_green_deploy logs VERSION [--follow] [--lines=N]
  blue_green_deploy history [--json] [--limit=N] [--verify] [--show=N]
  blue_green_deploy events [--since=TIME] [--follow] [--json] [--limit=N]
  blue_green_deploy releases [--json]
  blue_green_deploy releases prune [--keep=N] [--dry-run] [--json]
  blue_green_deploy repair [--yes | --dry-run] [--json]
  blue_green_deploy agent
  blue_green_deploy fleet deploy [--release=NAME] [--dir=DIR] [--waves=LIST] [--watch=SECONDS]
                           [--together] [--min-nodes=N] [--resume] [--json]
  blue_green_deploy fleet rollback [--json]
  blue_green_deploy fleet status [--follow] [--json]
  blue_green_deploy fleet history [--limit=N] [--json]
  blue_green_deploy fleet pause [--json]
  blue_green_deploy fleet resume [--json]
  blue_green_deploy fleet node drain NODE [--json]
  blue_green_deploy fleet node undrain NODE [--json]
  blue_green_deploy fleet forget NODE [--json]
  blue_green_deploy completion (bash|zsh|fish)
  blue_green_deploy --help | --version

Commands:
  status        Both versions, their health and the router, at a glance.
  start         Start a version and wait until it is healthy; the first one becomes active.
  run           The same in the foreground, for systemd, a Procfile or a container.
  stop          Stop a version after the requests that it still has.
  restart       Stop a version and start it again as it was; the active one, where it has several processes,
                one after the other, so that the others serve meanwhile.
  scale         Give a version that runs more processes, or fewer, while traffic flows.
  drain         Give one process of a version, or one of several backends, no new requests, and wait for
                those that it has.
  undrain       Give it requests again.
  health-check  Ask a version, or every one that runs, for its health.
  switch        Send traffic to a version, if it is healthy. The other one keeps running.
  rollback      Send traffic back to the version before; it is started first if it does not run.
  deploy        Start a release as the standby, wait until it is healthy, switch to it, and wait for
                the old version's requests. The old version keeps running for a rollback.
  canary        The same with a share of the requests first, and more of them as long as nothing speaks
                against the release; back by itself when something does. promote gives it all of them now,
                hold keeps its share, resume lets it go on, abort takes its share away.
  preview       A link that shows the standby through the router, before it has the traffic.
  pause         Let new requests wait, so that nobody sees what you do meanwhile; with --drain, return
                when no request is in flight any more.
  resume        Let them through, in the order in which they came.
  maintenance   Answer with a page that says so, but for those whom --allow lets through.
  logs          The end of a version's output; of its second process with `logs blue.2`, and so on.
  history       Who changed what, when, and what came of it.
  events        The same, and what happened without a command: crashes, failing health checks, failovers,
                reloads, the end of a pause; of the last hour.
  releases      Every release that lies in its directory or was started from here, the newest first;
                with prune, the old ones are removed that nothing needs.
  repair        Show what a broken state file and the last good state differ in, and restore that.
  agent         Keep this machine in its fleet, until a signal ends it; systemd starts it.
  fleet         The same for all machines of a fleet: deploy starts a release everywhere, and switches to it only
                when it is well everywhere; rollback goes back everywhere; pause lets no rollout begin or go on;
                node drain has a balancer send a node nothing new; forget is for one that will not come back.
  completion    A script with which the shell completes commands and options.

Options:
  --dir=DIR               Directory to run in, instead of the configured one.
  --release=NAME          What this release is called; the application gets it as $BG_RELEASE, and
                          [release] dir says where it lies.
  --command=COMMAND       Command to run, instead of the configured one; {port}, {address}, {version}
                          and {release} are filled in, and there is no shell but with [app] shell.
  --demo                  Run the bundled demo application, whatever is set. Without it, the demo runs only
                          where nothing else ever did.
  --reconfigure           The same release in the same directory, but with the settings and the
                          environment of now.
  --instance=N            The process of that number alone, of as many as [app] instances says.
  --backend=WHICH         Its number or its address, as status shows them.
  --force                 Switch to an unhealthy version; stop the active one, or a busy one; drain the
                          last process that serves.
  --wait                  Return only when the old version has no requests left.
  --on-timeout=WHAT       When requests are left after drain_timeout: fail with exit code 4 and
                          leave the old version running, wait on without end, or proceed and cut
                          what a stop cuts [default: fail].
  --to=N                  Back to what was active after command N of the history.
  --watch=SECONDS         After the switch, compare errors and times with the old version's; go back
                          if the new one does worse.
  --canary                As canary does, with what is set in [canary].
  --steps=STEPS           The shares that it has one after the other, as in 1%,5%:90s,25%.
  --sticky=WHO            Let a client stay at its version: cookie, client or header:NAME.
  --require-proof         Promote only what is shown not to be twice as bad.
  --on-inconclusive=WHAT  When too few requests come to judge it: hold, promote or abort.
  --waves=LIST            How many nodes have switched after each wave: 1,25%,100%.
  --together              Let requests wait until all nodes have switched, 2 s at most, so that no client
                          sees the old release after the new one.
  --min-nodes=N           As many nodes must be ready; one more that is lost meanwhile does not matter.
  --resume                Lead on what was committed, and has lost its coordinator.
  --stop-old              Stop the old version in the end.
  --local                 On this machine alone, although it belongs to a fleet.
  --for=SECONDS           How long the link is good (3600), or maintenance lasts (until it is ended).
  --until=TIME            When maintenance ends: 22:30, or 2026-11-23T22:30.
  --max-hold=SECONDS      Requests flow again after this time in any case [default: 30].
  --drain                 Return when no request is in flight; lift the pause if that takes too long.
  --message=TEXT          What the page says to people.
  --retry-after=SECONDS   When clients may come again (120), where no end is known.
  --allow=CIDR            A network or address that is let through; can be given several times.
  --follow                Go on printing what is added, until Ctrl-C.
  --lines=N               How many lines to begin with [default: 50].
  --limit=N               How many commands to show, the latest ones [default: 20].
  --since=TIME            How far back: 90 (seconds), 15m, 6h or 2d [default: 1h].
  --show=N                Only command N, with what a canary was judged by.
  --verify                Check that no line of the history was changed, taken out or put in.
  --keep=N                How many releases to keep, instead of the configured number.
  --dry-run               Say what would be removed or restored, and do nothing.
  --yes                   Restore without asking.
  --json                  Print data for programs.
  -h --help               Show this text.
  --version               Show the version.

Examples:
  blue_green_deploy start blue                     the configured application, or the bundled demo
  blue_green_deploy start green --release=r2       the next one beside it, still without traffic
  blue_green_deploy switch green                   now it has the traffic
  blue_green_deploy rollback                       now blue has it again
  blue_green_deploy deploy --release=r3 --dir=/srv/shop/r3
                                                   all of it in one command
  blue_green_deploy deploy --release=r4 --watch=60 r4 is given up if it does worse than r3
  blue_green_deploy canary --release=r5            r5 gets 1 % of the requests, then more, then all
  blue_green_deploy pause --drain && ./migrate.sh; blue_green_deploy resume
  blue_green_deploy start blue --command='uvicorn shop:app --port {port}'
  blue_green_deploy scale green 4                  four processes of it instead of two, say
  blue_green_deploy health-check green && echo ready
  source <(bin/blue_green_deploy completion bash)  let Tab complete commands and options in this shell

What to run and how to check it is set in traffic_router.toml, table [app]; table [deploy] has
commands that prepare a release (before), try a version before (smoke) and after (post) it gets the
traffic, and take back what was prepared (rollback). What a version was started
with - directory with links followed, command, environment - is recorded: restart, rollback and a start
without options start exactly that again, or say what is missing. deploy, run and a start with options
start something new. Relative paths begin at $TRAFFIC_ROUTER_HOME, else at the project's root, or, if
this was installed as a package, where you are.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not healthy, and traffic is where it
was before, 4 requests were still in flight when the time was up, 5 done, but doubtful: under --watch
more requests failed than before, which is not proven.
status: 0 traffic flows, or nothing was started yet, 1 it does not, 6 a pause or maintenance holds it
back.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from app.cli.deploy_call import Call
from app.cli.deploy_events import EventPrinter
from app.cli.entry import enter_home, read_arguments, run
from app.cli.output import outlive_reader
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.run.interruption import be_interruptible
from app.operator_errors import OperatorError, UnhealthyVersion, UsageError
from app.settings.toml_file import load_settings
from app.state.given_up import given_up

__all__ = ["main"]

# What only some commands need is imported by those: with traffic on a bad release, a rollback counts in milliseconds.


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code, raises `OperatorError` for what went wrong."""
    arguments = read_arguments(__doc__ or "", argv, "blue_green_deploy")
    if arguments["completion"]:  # which asks nobody, so that settings that are wrong do not matter
        from app.cli.completion import completion_script

        print(completion_script(__doc__ or "", "blue_green_deploy", arguments), end="")
        return 0
    enter_home()
    be_interruptible()
    word, command = next((word, command) for word, command in _COMMANDS.items() if arguments[word])
    if word not in _LOOKING or arguments["prune"]:
        outlive_reader()
    printer = EventPrinter()
    call = Call(arguments, load_settings(may_be_gone=word == "repair"), shlex.join(argv), printer)
    try:
        if word in _MOVING and call.fleet.is_on and not call.flag("--local"):
            raise UsageError(
                f"this machine belongs to the fleet {call.fleet.name}, whose machines run the same release",
                f"{PROGRAM} {shlex.join(argv)} --local   # for this machine alone, which then differs from the others",
            )
        return command(call)
    except KeyboardInterrupt as interruption:
        printer.clear()
        if isinstance(interruption.__context__, OperatorError):
            raise interruption.__context__ from None  # it had failed before, and has just been put in order
        print("⚠️  Interrupted", file=sys.stderr)
        raise
    finally:
        printer.clear()


def _status(call: Call) -> int:
    from app.cli.deploy_status import print_status

    return print_status(call)


def _start(call: Call) -> int:
    name = call.version()
    call.deployer.start(name, call.overrides(), reconfigured=call.flag("--reconfigure"))
    state = call.store.read()
    if state.active_version != name:
        warning = given_up(state.version(name), time.time())
        tried = f", and {warning}. To try it again" if warning else " yet. Next"
        print(f"   It has no traffic{tried}: {PROGRAM} switch {name}")
    elif not call.deployment.has_router:
        print(f"   Next, unless the router starts by itself: {ROUTER_PROGRAM} start")
    return 0


def _run(call: Call) -> int:
    from app.deploy.foreground_run import run_in_foreground

    number = call.count("--instance") if call.text("--instance") else None
    return run_in_foreground(call.deployer, call.version(), call.foreground, call.overrides(), number)


def _stop(call: Call) -> int:
    call.deployer.stop(call.version(), force=call.flag("--force"), on_timeout=call.on_timeout())
    return 0


def _restart(call: Call) -> int:
    call.deployer.restart(call.version(), reconfigured=call.flag("--reconfigure"), on_timeout=call.on_timeout())
    return 0


def _some(call: Call) -> int:
    from app.cli import deploy_some

    return next(command for word, command in deploy_some.COMMANDS.items() if call.flag(word))(call)


def _health_check(call: Call) -> int:
    from app.cli.deploy_views import checked_json, health_lines

    state, fault = call.known()
    named = call.text("VERSION")
    if named is None:
        checks = call.checks(state)
    else:
        checks = {named: call.check(state.version(named))}
    if call.flag("--json"):
        print(json.dumps({name: checked_json(checked) for name, checked in checks.items()}, indent=2))
    else:
        for name, checked in checks.items():
            print(*health_lines(name, checked), sep="\n")
    if fault is not None:
        raise fault
    if not checks:
        raise UnhealthyVersion("no version is running", f"{PROGRAM} start blue")
    is_well = all(result.ok for checked in checks.values() for result in checked.values())
    return 0 if is_well else UnhealthyVersion.exit_code


def _switch(call: Call) -> int:
    call.deployer.switch(
        call.version(), force=call.flag("--force"), wait=call.flag("--wait"), on_timeout=call.on_timeout()
    )
    _print_way_back(call)
    return 0


def _rollback(call: Call) -> int:
    to = call.count("--to") if call.text("--to") else None
    call.deployer.rollback(to, wait=call.flag("--wait"), on_timeout=call.on_timeout())
    _print_way_back(call)
    return 0


def _canary(call: Call) -> int:
    from app.cli.deploy_canary import give_order, print_canary

    if call.flag("status"):
        return print_canary(call)
    return give_order(call) if any(map(call.flag, ("promote", "hold", "resume", "abort"))) else _deploy(call)


def _deploy(call: Call) -> int:
    from app.deploy.release.differences import differences

    if differs := differences(call.deployment, call.store.read_or_new()):
        call.deployment.note(differs, warns=True)
    canary, watch_s = None, call.seconds("--watch", 1, 86_400) if call.text("--watch") else 0.0
    if call.flag("canary") or call.flag("--canary"):
        from app.cli.deploy_canary import canary_plan

        canary, watch_s = canary_plan(call), watch_s or call.canary.bake
    call.deployer.deploy(
        call.overrides(),
        stop_old=call.flag("--stop-old"),
        on_timeout=call.on_timeout(),
        watch_s=watch_s,
        canary=canary,
    )
    _print_way_back(call)
    if call.release.prune:
        from app.cli.deploy_releases import prune_after_deploy

        prune_after_deploy(call)
    return 0


def _print_way_back(call: Call) -> None:
    state = call.store.read()
    if state.previous_version and state.previous_version != state.active_version:
        previous = state.version(state.previous_version)
        runs = "keeps running" if call.deployment.runs(previous) else "is stopped"
        next_ = f"Back to it: {PROGRAM} rollback"
        if previous.rolled_back_at is not None:
            next_ = f"{previous.release or 'It'} was rolled back. Why: {PROGRAM} logs {previous.name}"
        print(f"   {previous.name} {runs}. {next_}")
    if not call.deployment.has_router:
        print(f"⚠️  The router is not running, so nobody is served: {ROUTER_PROGRAM} start")


def _mode(call: Call) -> int:
    from app.cli import deploy_modes

    return next(command for word, command in deploy_modes.COMMANDS.items() if call.flag(word))(call)


def _events(call: Call) -> int:
    from app.cli.deploy_timeline import print_events

    return print_events(call)


def _history(call: Call) -> int:
    from app.cli.deploy_history import print_history

    return print_history(call)


def _repair(call: Call) -> int:
    from app.cli.deploy_repair import repair

    return repair(call)


def _logs(call: Call) -> int:
    from app.cli.deploy_logs import print_log

    return print_log(call)


def _releases(call: Call) -> int:
    from app.cli.deploy_releases import print_releases, prune_releases

    return (prune_releases if call.flag("prune") else print_releases)(call)


def _agent(call: Call) -> int:
    from app.cli.fleet_agent import run_agent

    return run_agent(call)


def _fleet(call: Call) -> int:
    from app.cli.fleet_commands import fleet

    return fleet(call)


_COMMANDS: Final[dict[str, Callable[[Call], int]]] = {
    "canary": _canary,  # first: the words that follow it are commands themselves
    "fleet": _fleet,  # first: the words after it are commands of their own
    "status": _status,
    "start": _start,
    "run": _run,
    "stop": _stop,
    "restart": _restart,
    "scale": _some,
    "drain": _some,
    "undrain": _some,
    "health-check": _health_check,
    "switch": _switch,
    "rollback": _rollback,
    "deploy": _deploy,
    "preview": _mode,
    "pause": _mode,
    "resume": _mode,
    "maintenance": _mode,
    "logs": _logs,
    "history": _history,
    "events": _events,
    "releases": _releases,
    "repair": _repair,
    "agent": _agent,
}

_LOOKING: Final = ("status", "health-check", "logs", "history", "events", "releases")
"""They change nothing, and when nobody reads what they print they are over."""

_MOVING: Final = ("switch", "rollback", "deploy")
"""They decide which release has the traffic."""


if __name__ == "__main__":
    sys.exit(run(main))
