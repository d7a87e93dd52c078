"""The commands about some of a version's processes or backends: `scale`, `drain`, `undrain`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from app.cli.deploy_call import Call
from app.command_line import PROGRAM
from app.deploy.scaling import drain, scale, undrain

__all__ = ["COMMANDS"]


def _scale(call: Call) -> int:
    name, count = call.version(), call.count("COUNT")
    scale(call.deployer, name, count, on_timeout=call.on_timeout())
    print(f"✅ {name} has {count} process{'es' if count > 1 else ''}")
    return 0


def _drain(call: Call) -> int:
    name, which = call.version(), call.text("--backend") or ""
    drain(call.deployer, name, which, force=call.flag("--force"), on_timeout=call.on_timeout())
    print(f"   It gets no new requests until: {PROGRAM} undrain {name} --backend={which}")
    return 0


def _undrain(call: Call) -> int:
    name, which = call.version(), call.text("--backend") or ""
    undrain(call.deployer, name, which)
    print(f"✅ {name}: backend {which} gets requests")
    return 0


COMMANDS: Final[Mapping[str, Callable[[Call], int]]] = {"scale": _scale, "drain": _drain, "undrain": _undrain}
