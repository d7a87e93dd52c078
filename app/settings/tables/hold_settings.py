"""The settings of what the router does while a version is down, comes back, or is kept from its clients."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings import checks
from app.settings.engine import enforce, setting

__all__ = ["HoldConfig"]


@dataclass(frozen=True)
class HoldConfig:
    """What is about losing no request; raises `ConfigError` with every fault when made."""

    hold_timeout: float = setting(
        5.0,
        "Hold a request this long while the active version refuses connections, resets them or restarts; then 502.",
        unit="seconds",
        low=0,
        high=300,
        zero="answer 502 at once",
    )
    hold_queue: int = setting(
        1000, "Requests that one worker holds while a version is down, and as many in a pause.", low=0, high=1_000_000
    )
    resume_rate: int = setting(
        200, "Held requests that one worker lets go each second when the traffic goes on.", low=1, high=100_000
    )
    retry_budget: int = setting(
        20,
        "Requests sent once more after a reset, as a percentage of a worker's requests.",
        low=0,
        high=100,
        zero="no more than `retry_floor`",
    )
    retry_floor: int = setting(
        10, "Requests that one worker may send once more each second whatever the budget says.", low=0, high=10_000
    )
    circuit_failures: int = setting(
        5,
        "Gateway failures in a row that open a version's circuit.",
        low=0,
        high=1000,
        zero="the circuit never opens",
    )
    failover: str = setting(
        "",
        "Where requests go while the active version's circuit is open.",
        zero="nowhere else",
        rule="empty, or `standby`: to the other version while its health checks succeed",
        check=lambda text: text in ("", "standby"),
    )
    maintenance_page: str = setting(
        "",
        "HTML file of your own for maintenance; `{{message}}`, `{{retry_after}}` and `{{request_id}}` are filled in.",
        zero="the built-in page",
    )
    handover: str = setting(
        "graceful",
        "What becomes of WebSockets and the streams of `EventSource`s on a version that is not active any more: ended"
        " between two messages, spread over `handover_window`; kept; or all ended at once (cut).",
        rule="one of graceful, keep, cut",
        check=checks.is_handover,
    )
    handover_window: float = setting(
        30.0,
        "Spread the ends of WebSockets and event streams over this time, and over no more than 80 % of `drain_timeout`;"
        " what is left, other tunnels too, is cut at 90 % of it.",
        unit="seconds",
        low=0,
        high=86_400,
    )

    def __post_init__(self) -> None:
        enforce(self, ())
