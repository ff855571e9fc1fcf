"""How objectives are being kept, as values: what a person, a metric and the cascade are told."""

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
    """How one objective is doing.

    Attributes:
        objective: it.
        events: of its whole window.
        budget_remaining: a share; below 0 where it is overspent.
        windows: events by the windows of `burn.WINDOWS`.
        burn_rates: likewise.
        alert: what they call for.
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
        window: seconds of an error budget.
        since: when counting began, Unix seconds; not before the window did.
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
        count: answers.
        quantiles: seconds, by `QUANTILES`.
    """

    table: str
    service: ServiceClass
    tier: Tier
    count: int
    quantiles: Mapping[float, float]
