"""A server's objectives and whether it meets them, as frozen values that print readably."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cascade_client.values.provenance import Tier


class ServiceClass(StrEnum):
    """Service class of a call; objectives and error budgets are separate for each class."""

    REALTIME = "realtime"  # synthesize, fidelity "auto" or "fast"
    FULL = "full"  # synthesize, fidelity "full" or with the log-likelihood
    OFFLINE = "offline"  # generate, stream
    UNKNOWN = "unknown"  # a class that this version of the client has no name for


class ObjectiveKind(StrEnum):
    """Criterion for the good events of an objective."""

    AVAILABILITY = "availability"
    LATENCY = "latency"
    FIDELITY = "fidelity"
    UNKNOWN = "unknown"


class Alert(StrEnum):
    """Response that burn rates require."""

    OK = "ok"
    TICKET = "ticket"  # look at it within days
    PAGE = "page"  # get up
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class BurnRate:
    """How fast one window's events spend the error budget.

    Attributes:
        window: seconds.
        rate: 1 spends the budget in exactly the time it is for, 2 in half of it.
        good, total: events of the window.
    """

    window: int
    rate: float
    good: int
    total: int

    @property
    def name(self) -> str:
        """The window in the usual notation: "5m"."""
        return duration(self.window)


@dataclass(frozen=True)
class ObjectiveStatus:
    """One objective, and how well it is met.

    Attributes:
        name: its unique name.
        table: the table's name.
        service: the class of service.
        kind: the criterion.
        target: the share of events that should be good.
        threshold: of latency, seconds; None for the other kinds.
        tier: of fidelity, the lowest tier that is good; None for the other kinds.
        good, total: events of the budget's window: calls, answers or rows, by kind.
        budget_remaining: the share of the error budget that is left; below 0: overspent.
        burn_rates: from the shortest window to the longest.
        alert: the response that they require.
    """

    name: str
    table: str
    service: ServiceClass
    kind: ObjectiveKind
    target: float
    threshold: float | None
    tier: Tier | None
    good: int
    total: int
    budget_remaining: float
    burn_rates: tuple[BurnRate, ...]
    alert: Alert

    @property
    def kept(self) -> float | None:
        """The share of events that were good; None: there were none."""
        return self.good / self.total if self.total else None

    @property
    def promise(self) -> str:
        """The objective in words: "99 % within 50 ms"."""
        words = {
            ObjectiveKind.AVAILABILITY: "answered",
            ObjectiveKind.LATENCY: f"within {1e3 * (self.threshold or 0):.10g} ms",
            ObjectiveKind.FIDELITY: f"by the {self.tier}",
        }.get(self.kind, self.kind)
        return f"{percent(self.target)} {words}"


@dataclass(frozen=True)
class LatencyQuantiles:
    """Latency of answers in the server over the last hour.

    Attributes:
        table, service, tier: group of answers.
        count: number of answers.
        quantiles: seconds, by quantile; within 1 %.
    """

    table: str
    service: ServiceClass
    tier: Tier
    count: int
    quantiles: dict[float, float]


class CallerFault(StrEnum):
    """Reasons why an unanswered call is the caller's fault, and spends no error budget."""

    HUNG_UP = "hung up"  # given up before its deadline
    DEADLINE_TOO_SHORT = "deadline too short"  # less time than an idle server needs
    BAD_REQUEST = "bad request"  # no such table, or not allowed
    UNKNOWN = "unknown"  # a fault that this version of the client has no name for


@dataclass(frozen=True)
class CallerFaults:
    """Calls that went unanswered through their callers' fault, since the server's start.

    Attributes:
        table: the table's name; "(unknown)" for calls that named no existing table.
        service: the class of service.
        fault: the reason.
        calls: number of calls.
    """

    table: str
    service: ServiceClass
    fault: CallerFault
    calls: int

    def __str__(self) -> str:
        calls = f"{self.calls} {self.table} {self.service} call{'s' * (self.calls != 1)}"
        return f"{calls} {FAULTS_IN_WORDS.get(self.fault, self.fault)}"


FAULTS_IN_WORDS = {
    CallerFault.HUNG_UP: "given up by the caller before the deadline",
    CallerFault.DEADLINE_TOO_SHORT: "with less time than an idle server needs",
    CallerFault.BAD_REQUEST: "that asked for what there is not, or is not allowed",
}


@dataclass(frozen=True)
class ServiceLevel:
    """A server's objectives and how well it meets them; `str()` of it is one line per objective.

    Attributes:
        service: name of the deployment.
        window: length of an error budget's window in seconds.
        since: when counting began, UTC; not before the window did.
        objectives: by table.
        latencies: by table, class and tier.
        caller_faults: calls that went unanswered through callers' faults; they spend no budget.
    """

    service: str
    window: int
    since: datetime
    objectives: tuple[ObjectiveStatus, ...]
    latencies: tuple[LatencyQuantiles, ...]
    caller_faults: tuple[CallerFaults, ...] = ()

    @property
    def alert(self) -> Alert:
        """The most severe of the objectives' alerts."""
        alerts = {objective.alert for objective in self.objectives}
        return next((each for each in (Alert.PAGE, Alert.TICKET) if each in alerts), Alert.OK)

    def __str__(self) -> str:
        lines = [f"{self.service}: error budgets of {duration(self.window)}"]
        lines += [
            f"  {each.table} {each.service}: {each.promise}; {each.good} of {each.total}, "
            f"{percent(each.budget_remaining, 1)} of the budget left, {each.alert}"
            for each in self.objectives
        ]
        return "\n".join(lines)


def percent(share: float, decimals: int = 10) -> str:
    """Format a share: "99.9 %"; without trailing zeros."""
    text = f"{100 * share:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{'0' if text == '-0' else text} %"


def duration(seconds: int) -> str:
    """Format seconds in the largest unit that divides them: "5m", "3d"."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"
