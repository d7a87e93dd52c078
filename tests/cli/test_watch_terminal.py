"""`metrics --watch` on a real (pseudo) terminal: redrawn in place, with the rate as a curve."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.support.canned_router import METRICS, CannedRouter
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_watch_on_a_terminal_redraws_and_ends_on_ctrl_c(canned: CannedRouter) -> None:
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, str(ROOT / "bin" / "traffic_router"), "metrics", "--watch=0.1", "--window=60"]
    with subprocess.Popen(
        command, stdin=secondary, stdout=secondary, env={**os.environ, "TERM": "xterm-256color"}
    ) as watching:
        os.close(secondary)
        os.set_blocking(primary, False)
        seen = bytearray()

        def has_drawn(text: str) -> bool:
            try:
                seen.extend(os.read(primary, 65_536))
            except BlockingIOError:
                time.sleep(0.01)
            return text in seen.decode(errors="replace")

        wait_until(lambda: has_drawn("1,024"), "the first figures")
        canned.answers["/__router_metrics"] = (200, {**METRICS, "total_requests": 2048})
        wait_until(lambda: has_drawn("2,048"), "the new figures")
        wait_until(lambda: has_drawn("█"), "a curve that rises")
        watching.send_signal(signal.SIGINT)
        wait_until(lambda: has_drawn("\x1b[?1049l"), "the terminal as it was")

        assert watching.wait(10) == 0
    os.close(primary)
    text = seen.decode(errors="replace")
    assert text.count("TRAFFIC ROUTER METRICS") > 1
    assert "\x1b[?1049h" in text  # the other screen, so that the shell's lines stay as they were
    assert "every 0.1 s, Ctrl-C ends" in text
