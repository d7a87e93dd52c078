"""Whether a release can be tried with a share of the requests, and by which course."""

from __future__ import annotations

from typing import Final

from app.canary.course import Step, fitted, percent
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.plan import Plan
from app.operator_errors import OperatorError
from app.state.model import BlueGreenState

__all__ = ["check_can_share", "for_traffic_of_now"]

_RATE_OVER_S: Final = 60


def for_traffic_of_now(deployment: Deployment, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps, of which the first is large enough for the traffic of the last minute to decide something."""
    active = deployment.store.read_or_new().active_version
    if deployment.traffic is None or active is None:
        return steps
    made = deployment.traffic.conduct(active, _RATE_OVER_S).requests
    fit = fitted(steps, made / _RATE_OVER_S)
    if fit != steps:
        deployment.note(f"{made} requests in the last minute: it begins with {percent(fit[0].weight)} of them")
    return fit


def check_can_share(deployment: Deployment, state: BlueGreenState, plan: Plan) -> None:
    """Raises `OperatorError` where there is nothing to share, or nobody who could tell how a canary does."""
    if state.active is None:
        raise OperatorError("there is no active version whose requests could be shared", f"{PROGRAM} deploy")
    if deployment.blind:
        raise OperatorError(f"nobody could see how a canary does: {deployment.blind}", f"{ROUTER_PROGRAM} reload")
    if deployment.traffic is None:
        raise OperatorError("the router is not running, so there are no requests to share", f"{ROUTER_PROGRAM} start")
    release = plan.spec.release
    if release and release == state.active.release:
        raise OperatorError(
            f"{release} is what {state.active.name} runs already: both would do alike", f"{PROGRAM} releases"
        )
