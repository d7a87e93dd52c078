"""Where other people's programs are installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PEERS_BIN", "PEERS_PYTHON"]

PEERS_BIN = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin"
PEERS_PYTHON = PEERS_BIN / "python"
