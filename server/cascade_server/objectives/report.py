"""The state of objectives as values, for people, metrics and the cascade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from cascade_server.objectives.burn import Alert, Events
from cascade_server.objectives.objective import Objective
from cascade_server.terms import ServiceClass, Tier

OK = grpc.StatusCode.OK


@dataclass(frozen=True)
class Status:
    """The state of one objective.

    Attributes:
        objective: the objective.
        events: events of its whole window.
        budget_remaining: share of the budget that is left; below 0 if it is overspent.
        windows: events by the windows of `burn.WINDOWS`.
        burn_rates: burn rates by the same windows.
        alert: the alert that is due.
    """

    objective: Objective
    events: Events
    budget_remaining: float
    windows: Mapping[str, Events]
    burn_rates: Mapping[str, float]
    alert: Alert


@dataclass(frozen=True)
class Report:
    """Every objective's status.

    Attributes:
        service: the deployment's name.
        window: seconds of an error budget's window.
        since: when counting began, Unix seconds; not before the start of the window.
        statuses: in the order of the objectives.
    """

    service: str
    window: int
    since: float
    statuses: tuple[Status, ...]


@dataclass(frozen=True)
class Latencies:
    """Latency of the last hour's answers.

    Attributes:
        count: number of answers.
        quantiles: seconds, by `QUANTILES`.
    """

    table: str
    service: ServiceClass
    tier: Tier
    count: int
    quantiles: Mapping[float, float]
