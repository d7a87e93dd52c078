"""A node's part in the fleet's rollouts, put together: its duty, and the deploy code that this acts with."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from app.cli.deploy_call import Call
from app.cli.deploy_events import EventPrinter
from app.deploy.events import Reporter
from app.fleet.allowed import Allowed
from app.fleet.duty import Duty
from app.fleet.hands import DeployTools, NodeHands
from app.fleet.node_memory import MEMORY_NAME, keep_memory, read_memory
from app.settings.tables.router_settings import RouterConfig
from app.settings.toml_file import load_settings

__all__ = ["open_duty"]

_COMMAND = "fleet"
"""What a deployment's history and lock have as the command."""


def open_duty(config: RouterConfig, node: str) -> Duty:
    """That of this machine; raises `StateError` where it cannot tell what it has acted by."""
    path = Path(config.state_file).absolute().parent / MEMORY_NAME
    work = ThreadPoolExecutor(1, "fleet")
    hands = NodeHands(_open_tools, EventPrinter())
    return Duty(node, hands, read_memory(path), partial(keep_memory, path), work, drain_s=config.drain_timeout)


def _open_tools(report: Reporter) -> DeployTools:
    """By the settings of now."""
    loaded = load_settings()
    call = Call(defaultdict(lambda: None), loaded, _COMMAND, report)
    fleet = loaded.fleet
    return DeployTools(call.deployer, call.modes, Allowed(fleet.allow_dir, fleet.allow_command, loaded.release.dir))
