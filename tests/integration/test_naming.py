"""Backends by name follow what the system's resolver says, with a real /etc/hosts that changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.router_process import ROOT

HAS_NAMESPACES = not subprocess.run(
    ["unshare", "-rm", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
).returncode

pytestmark = pytest.mark.timeout(120)


@pytest.mark.skipif(not HAS_NAMESPACES, reason="makes a mount namespace")
def test_addresses_of_a_name_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    script = 'mount --bind "$1/hosts" /etc/hosts && exec "$2" -m tests.integration.naming "$1"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["both", "third", "one", "kept"], done.stderr[-3000:]
