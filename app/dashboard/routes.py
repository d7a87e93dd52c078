"""Where the live page and what belongs to it are found.

What answers there is made by a worker's first request for it: the page with all that it keeps takes three
megabytes and, once, some sixty milliseconds, and most workers are never looked at.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, Response
from gevent.lock import RLock

from app.access import Access
from app.dashboard.paths import ASSETS, PREFIX
from app.proxy.service import Service
from app.survey import Whereabouts, fleet_of
from app.transport.endpoint import yield_to_loop

if TYPE_CHECKING:
    from app.dashboard.view import View

__all__ = ["Pauses", "Routes"]

PIECE_S = 0.001
"""How much a look at the router may work, in CPU time, before it lets others work."""


class Pauses:
    """Called often in the middle of long work; gives way when there has been a piece of it."""

    def __init__(self) -> None:
        self._since_s = 0.0

    def __call__(self) -> None:
        """Lets others work, if it is time."""
        if time.thread_time() - self._since_s >= PIECE_S:
            yield_to_loop()
            self._since_s = time.thread_time()


class Routes:
    """The dashboard of one worker, as far as it is there from the start: its paths, in `blueprint`."""

    def __init__(self, service: Service, access: Access, where: Whereabouts) -> None:
        self._service = service
        self._where = where
        self._access = access
        self._view: View | None = None
        self._making = RLock()
        self._is_stopping = False
        self.blueprint = Blueprint("dashboard", __name__)
        for name, path in self._paths().items():
            self.blueprint.add_url_rule(path, name, partial(self._answer, name), methods=["GET"])
        if access.has_token:
            for name in ("sign_in", "sign_out"):
                path = f"{PREFIX}/{name.replace('_', '-')}"
                self.blueprint.add_url_rule(path, name, partial(self._answer, name), methods=["POST"])

    def _paths(self) -> dict[str, str]:
        """Path by the name of the method of `View` that answers."""
        return {
            "page": self._service.config.dashboard_path,
            "events": f"{PREFIX}/events",
            "frame": f"{PREFIX}/frame",
            "figures": f"{PREFIX}/figures/<name>",
            "icon": f"{PREFIX}/icon-<name>.svg",
            "asset": f"{PREFIX}/<any({','.join(ASSETS)}):name>",
        }

    def _answer(self, method: str, /, **values: str) -> Response:
        answer: Response = getattr(self._made(), method)(**values)
        return answer

    def ask_for_token(self) -> Response:
        """The form in the page's place."""
        return self._made().ask_for_token(401)

    def stop(self) -> None:
        """Ends all streams, and those to come: the worker stops."""
        self._is_stopping = True
        if self._view is not None:
            self._view.live.close()

    def _made(self) -> View:
        with self._making:
            if self._view is None:
                view = self._make()
                if self._is_stopping:
                    view.live.close()
                self._view = view
            return self._view

    def _make(self) -> View:
        pause = Pauses()
        from app.dashboard.observer import Observer

        pause()
        from app.dashboard.view import View

        pause()
        service = self._service
        observer = Observer(
            service.config,
            service.metrics,
            service.router.state,
            pause,
            self._where,
            service.with_policy,
            partial(fleet_of, service.settings),
        )
        return View(service, self._access, observer, pause)
