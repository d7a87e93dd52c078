"""The gunicorn worker: gevent's, with a serving loop of our own for plain HTTP/1.1."""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from app.operator_errors import ConfigError
from app.server.worker_flag import CUTTING_S, WorkerFlag, has_flag, raise_flag

if TYPE_CHECKING:
    from app.server.serving import Serving

__all__ = ["RouterWorker"]

LAST_WORDS_S = 1.0
"""What is kept of `graceful_timeout` for requests that were held up to then: the release is paced."""

RECYCLE_TIMEOUT_S = 3600.0
"""What a worker may take to finish its requests that goes because of its age: nobody waits for its end."""


class RouterWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves the router. TLS, HTTP/2 and any other application go through gunicorn's own handling."""

    _serving: Serving | None = None
    _has_asked = False  # to be replaced
    _has_moved_logs = False  # while it was starting: it may have opened one before, under another name by now
    _is_hurried = False  # whoever ends the router does not want to wait

    def init_process(self) -> None:
        """Sends our log to where gunicorn's goes, then boots as usual."""
        _allow_descriptors(2 * self.cfg.worker_connections)
        ours = logging.getLogger("app")
        ours.handlers = list(self.log.error_log.handlers)
        ours.setLevel(self.log.error_log.level)
        ours.propagate = False
        super().init_process()

    def run(self) -> None:
        """Serves until told to stop, then lets requests and connections end."""
        # Imported here: gunicorn imports this module in the master, which must not import requests.
        from app.server.serving import Serving

        if not self.cfg.is_ssl:
            self._serving = Serving.of(self.wsgi)
            if self._serving is not None and self._has_moved_logs:
                self._reopen(self._serving)
        self._stopping = Event()
        servers = [self._server(listener) for listener in self.sockets]
        for server in servers:
            server.start()
        while self.alive:
            self.notify()
            self._look_at_age()
            self._stopping.wait(1.0)
        for server in servers:
            server.close()
        self._drain(servers)
        if self._serving is not None:
            self._serving.finish_access_log()

    def notify(self) -> None:
        """Beats. A worker whose master was killed finishes what it has; gunicorn's own would end in the midst of it."""
        super(GeventWorker, self).notify()
        if self.alive and self.ppid != os.getppid():
            self.log.error("The master is gone; this worker finishes its requests and ends")
            raise_flag(self.tmp, WorkerFlag.IS_LAST)
            self.handle_exit(signal.SIGTERM, None)

    def _look_at_age(self) -> None:
        """After `max_requests`, asks the master to replace this worker, which serves on until then."""
        if self._serving is not None and not self._has_asked and self._serving.requests >= self.max_requests:
            self._has_asked = True
            self.log.info("Worker has served %s requests and asks to be replaced", self._serving.requests)
            raise_flag(self.tmp, WorkerFlag.ASKS_TO_GO)

    def _server(self, listener: Any) -> Any:
        """What accepts the connections of one listener."""
        # With several workers one at a time, or the worker that wakes first takes them all.
        at_once = 1 if self.cfg.workers > 1 else 100
        serving = self._serving
        if serving is not None:
            from app.server.accepting import Acceptor
            from app.server.fairness import FairShare

            share, limit = FairShare(serving.shares), self.worker_connections
            serve = serving.serve_admin if serving.is_admin(listener) else serving.serve
            return Acceptor(listener, serve, serving.refuse, serving.make_room, share, limit, at_once)
        listener.setblocking(1)
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        server = StreamServer(
            listener, handle=partial(self.handle, listener), spawn=Pool(self.worker_connections), **tls
        )
        server.max_accept = at_once
        return server

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """USR1: opens the log files anew, after logrotate has moved them; ours as well."""
        super().handle_usr1(sig, frame)
        if self._serving is None:
            self._has_moved_logs = True
        else:
            # Not at once: the signal may have interrupted the very writing of lines.
            gevent.get_hub().loop.run_callback_threadsafe(self._reopen, self._serving)

    def _reopen(self, serving: Serving) -> None:
        try:
            serving.reopen_access_log()
        except ConfigError as error:
            self.log.error("%s; its lines go on into the file that was open", error)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """INT and QUIT: as TERM, but waits for no request."""
        self._is_hurried = True
        self.handle_exit(sig, frame)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM: stops accepting without waiting for the next heartbeat."""
        super().handle_exit(sig, frame)
        self._wake()

    def _wake(self) -> None:
        stopping = getattr(self, "_stopping", None)
        if stopping is not None:
            gevent.get_hub().loop.run_callback_threadsafe(stopping.set)

    def _drain(self, servers: list[Any]) -> None:
        """Lets what is in flight end within `graceful_timeout`, then answers or resets the rest.

        Where others serve on, requests that are held by a pause have its time, and then as long as all others.
        When the whole router ends, they wait only for a pause that is over in time.
        """
        serving = self._serving
        limit_s = RECYCLE_TIMEOUT_S if self._has_asked else self.cfg.graceful_timeout
        ends = time.monotonic() + limit_s
        if serving is not None:
            serving.keep_no_connection(limit_s)
        while time.monotonic() < ends and not self._is_hurried:
            if not any(len(server.pool) for server in servers):
                return
            if serving is not None:
                ends = self._time_for_holds(serving, ends, limit_s)
            self.notify()
            gevent.sleep(0.05)
        self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
        if serving is not None:
            serving.cut_off()
        for server in servers:
            server.stop(timeout=CUTTING_S / 2)

    def _time_for_holds(self, serving: Serving, ends: float, limit_s: float) -> float:
        """When the draining ends, as far as requests that a pause holds have a say in it; else `ends`."""
        now, held_s = time.monotonic(), serving.holds_for_s
        if held_s and not has_flag(self.tmp, WorkerFlag.IS_LAST):
            return now + limit_s
        if now + held_s > ends - LAST_WORDS_S:
            serving.end_holds()
        return ends


def _allow_descriptors(count: int) -> None:
    """Raises this process's limit of open files, as far as it may: each request in flight takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
