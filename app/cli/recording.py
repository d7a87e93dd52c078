"""`record`: asks the workers to write whole exchanges into a file, for a while, and tells how it goes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.cli.router_process import find_router
from app.cli.terminal import Progress, bytes_text, clock_text, count_text
from app.command_line import ROUTER_PROGRAM
from app.operator_errors import ProcessError
from app.settings.tables.router_settings import RouterConfig
from app.state.recording_order import NAME, RecordingOrder, read_order, write_order
from app.state.store import make_folder, mending

__all__ = ["record"]

_BEAT_S = 1.2
"""Within this time every worker has heard of the order, or of its end."""

_LOOK_EVERY_S = 0.5


def record(config: RouterConfig, paths: Sequence[str], seconds: float, max_body: int, max_bytes: int, to: str) -> int:
    """Records for so many seconds, until Ctrl-C or until there is no room; returns the exit code.

    Args:
        paths: exact ones, and prefixes that end with `*`.
        max_body: bytes of each body that are kept.
        max_bytes: of the file.
        to: the file, which must not exist; "" for one beside the state file.

    Raises ProcessError when no router runs, another recording is under way, or the file cannot be made.
    """
    if find_router(config) is None:
        raise ProcessError("No router runs for this state file", f"{ROUTER_PROGRAM} start --daemon")
    order_path = Path(config.beside_state(NAME))
    _check_alone(order_path)
    file = Path(to or config.beside_state(time.strftime("recording-%Y%m%d-%H%M%S.jsonl"))).absolute()
    _make(file, order_path.parent)
    has_room = True
    order = RecordingOrder(tuple(paths), time.time() + seconds, max_body, max_bytes, str(file))
    try:
        write_order(order_path, order)
        has_room = _watch(file, order, order_path)
    except KeyboardInterrupt:
        pass  # the way to end it early
    except OSError as error:
        raise ProcessError(f"{order_path} cannot be written: {error.strerror}", mending(error, order_path)) from error
    finally:
        order_path.unlink(missing_ok=True)
    with suppress(KeyboardInterrupt):
        time.sleep(_BEAT_S)
    exchanges, size = _counted(file)
    print(f"✅ {_told(exchanges, size)} in {file}")
    if not has_room:
        print("   Nothing is recorded any more: there is no room")
    print("   Secrets in fields, addresses, forms and JSON are masked; look through the rest before others get it.")
    return 0


def _check_alone(path: Path) -> None:
    order = read_order(path)
    if order is not None and order.until > time.time():
        raise ProcessError(
            f"A recording into {order.file} is under way until {clock_text(order.until)}", f"rm {path}   # ends it"
        )


def _make(file: Path, folder: Path) -> None:
    """An empty file that only the router's user may read."""
    try:
        make_folder(folder)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProcessError(f"{file} cannot be made: {error.strerror}", "--output with another file") from error
    try:
        os.fchmod(descriptor, 0o600)
        if os.geteuid() == 0:
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def _watch(file: Path, order: RecordingOrder, order_path: Path) -> bool:
    """Tells how it goes until its time is over; False when there is no room, and a worker has taken the order back."""
    progress = Progress()
    try:
        while (left_s := order.until - time.time()) > 0:
            exchanges, size = _counted(file)
            if not order_path.exists():
                return False
            progress.say(f"Recording {' '.join(order.paths)}", f": {_told(exchanges, size)}, {left_s:.0f} s left")
            time.sleep(min(_LOOK_EVERY_S, left_s))
        return True
    finally:
        progress.clear()


def _counted(file: Path) -> tuple[int, int]:
    """Exchanges, and bytes; a file that was taken away has none."""
    try:
        with file.open("rb") as lines:
            return sum(1 for _ in lines), os.fstat(lines.fileno()).st_size
    except OSError:
        return 0, 0


def _told(exchanges: int, size: int) -> str:
    return f"{count_text(exchanges)} {'exchange' if exchanges == 1 else 'exchanges'}, {bytes_text(size)}"
