"""The filters that a request passes, and their order. They do not know one another; only `chain_of` knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from app.proxy.backend_queue import BackendQueue, QueuePlace
from app.proxy.chain import Chain, Concern, Filter
from app.proxy.filters.admission import Admission
from app.proxy.filters.affinity import AffinityFilter
from app.proxy.filters.maintenance import MaintenanceFilter
from app.proxy.filters.preview import PreviewFilter
from app.proxy.filters.splitting import SplitFilter
from app.proxy.sharing import SplitCounter
from app.proxy.transaction import Recorder
from app.routing.router import TrafficRouter
from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS

if TYPE_CHECKING:  # a worker without limits and logins imports nothing of them
    from app.limits.shared_limits import SharedLimits
    from app.logins.logins import Logins
    from app.proxy.filters.limiting import LimitsFilter
    from app.proxy.filters.login import LoginFilter

__all__ = ["ORDER", "Admission", "chain_of"]

ORDER: Final = (
    ("preview", "its token is taken off before anybody else could see it: logs, other filters, applications"),
    ("affinity", "its cookie is taken off likewise; the choice of a backend is the last thing"),
    ("split", "its cookie is taken off likewise; whom maintenance lets pass is given to nobody by chance"),
    ("maintenance", "visitors of the standby pass it, so it comes after them; nobody else need be judged meanwhile"),
    ("limits", "who asks too often is told so before anything is asked that costs more"),
    ("login", "who asks, after everything that refuses without a look at that: to find it out costs most"),
    ("user_limits", "limits by a claim of a login, which is known now"),
    ("admission", "the claim, and the wait for the end of a pause or for room: after everything that can say no"),
)
"""Name of each filter, and why it stands there."""


def chain_of(
    settings: Loaded,
    router: TrafficRouter,
    recorder: Recorder,
    place: Callable[[int], QueuePlace],
    limits: SharedLimits | None = None,
    logins: Logins | None = None,
    split_counter: SplitCounter | None = None,
) -> tuple[Chain, Admission]:
    """The chain of one worker, and its last filter, where requests may be waiting.

    `place` gives what workers tell one another of their queues, by version; in `limits` they count together; `logins`
    are those of the settings; `split_counter` counts what two versions share.

    A filter for which nothing is configured is None here and costs a request nothing. One with a table of its own asks
    for it by its class: `settings.of(ItsConfig)`.
    """
    config = settings.config
    queues = []
    if settings.backends.max_in_flight:
        queues = [BackendQueue(settings.backends, router, place(version)) for version in range(len(VERSIONS))]
    admission = Admission(config, router, recorder, queues)
    preview = PreviewFilter(config, router)
    maintenance = MaintenanceFilter(config, router, settings.app.health_path)
    split = SplitFilter(config, router, split_counter) if split_counter is not None else None
    filters: dict[str, Filter | None] = {
        "preview": preview,
        "affinity": AffinityFilter(config) if settings.backends.affinity else None,
        "split": split,
        "maintenance": maintenance,
        "limits": _limits_filter(limits, has_login=False),
        "login": _login_filter(config, logins, recorder),
        "user_limits": _limits_filter(limits, has_login=True),
        "admission": admission,
    }
    concerns: dict[Filter, Concern] = {preview: preview.concerns, maintenance: maintenance.concerns}
    asked = [ask for name, _ in ORDER if (ask := filters[name]) is not None]
    return Chain(asked, router, concerns, {split: split.concerns} if split is not None else {}), admission


def _limits_filter(limits: SharedLimits | None, has_login: bool) -> LimitsFilter | None:
    if limits is None:
        return None
    from app.proxy.filters.limiting import LimitsFilter

    return LimitsFilter.of(limits, has_login)


def _login_filter(config: RouterConfig, logins: Logins | None, recorder: Recorder) -> LoginFilter | None:
    if logins is None:
        return None
    from app.proxy.filters.login import LoginFilter

    return LoginFilter(config, logins.all, recorder)
