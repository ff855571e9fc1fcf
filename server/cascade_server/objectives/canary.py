"""Whether a canary is promoted, rolled back, or on trial still: a pure decision.

A version on trial is held to the objectives of its table, and is not blamed for what the stable
version does as badly at the same time. It is looked at again and again, so a difference counts only
when it is next to impossible by chance: the Chernoff bound says how likely so many bad events are
at most, were the canary as good as it has to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cascade_server.config import ServerConfig
from cascade_server.objectives.burn import Events
from cascade_server.objectives.objective import Kind, Objective
from cascade_server.terms import ServiceClass


class Verdict(StrEnum):
    """What is to be done."""

    WAIT = "wait"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class CanaryConfig:
    """What it takes.

    Attributes:
        seconds: that a trial takes at least before a promotion.
        calls: of the canary, likewise.
        chance: the probability by chance below which a canary is worse.
        stable_z: of the stable version's own share of bad events the upper bound counts, so many
            standard errors above it (Wilson's).
    """

    seconds: float = ServerConfig.canary_seconds
    calls: int = ServerConfig.canary_calls
    chance: float = 1e-4
    stable_z: float = 2.0


@dataclass(frozen=True)
class Outcome:
    """Of one objective: calls of the stable version and of the canary, during the trial.

    An event is a call, also of fidelity, whose budget counts rows: what is told by chance from what
    is not has to be independent, and the rows of an answer are not.
    """

    objective: Objective
    stable: Events
    canary: Events


@dataclass(frozen=True)
class Judged:
    """A verdict and its reason, in words for a log."""

    verdict: Verdict
    reason: str


def judge(outcomes: Sequence[Outcome], elapsed: float, config: CanaryConfig) -> Judged:
    """What to do with a canary.

    Args:
        outcomes: of its table's objectives.
        elapsed: seconds since the trial began.
        config: what it takes.
    """
    waiting = ""
    calls = answered(outcomes)
    for each in outcomes:
        bad, total = _bad(each.canary), each.canary.total
        if not total:
            continue
        allowed = allowed_ratio(each, config)
        words = (
            f"{each.objective.name}: {bad} of {total} events of the canary were bad, "
            f"burn rate {bad / total / (1 - each.objective.target):.3g}; "
            f"of the stable version {_bad(each.stable)} of {each.stable.total}"
        )
        if bad and evidence(bad, total, allowed) >= -math.log(config.chance):
            return Judged(Verdict.ROLL_BACK, words)
        if bad / total > allowed:
            waiting = waiting or words
    if calls < config.calls:
        return Judged(Verdict.WAIT, f"{calls} of {config.calls} calls")
    if elapsed < config.seconds:
        return Judged(Verdict.WAIT, f"{elapsed:.0f} of {config.seconds:g} s")
    if waiting:
        return Judged(Verdict.WAIT, waiting)
    return Judged(Verdict.PROMOTE, f"{calls} calls in {elapsed:.0f} s kept every objective")


def answered(outcomes: Sequence[Outcome]) -> int:
    """Calls that the canary has answered, of the classes of which anything is promised.

    All objectives of a class count the same answers; availability what was refused as well, and for
    much of that the canary was never asked.
    """
    calls: dict[ServiceClass, int] = {}
    for each in outcomes:
        kind, service = each.objective.kind, each.objective.service
        found = each.canary.good if kind is Kind.AVAILABILITY else each.canary.total
        calls[service] = min(calls.get(service, found), found)
    return sum(calls.values())


def allowed_ratio(outcome: Outcome, config: CanaryConfig) -> float:
    """The share of bad events that a canary may have: its objective's, or the stable version's."""
    budget = 1 - outcome.objective.target
    return max(budget, upper(_bad(outcome.stable), outcome.stable.total, config.stable_z))


def upper(bad: int, total: int, z: float) -> float:
    """Wilson's upper bound of a share; 0 where nothing is known."""
    if not total:
        return 0.0
    p, n = bad / total, total
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre + spread) / (1 + z * z / n)


def evidence(bad: int, total: int, allowed: float) -> float:
    """-ln of the most that the chance of so many bad events can be, were their share `allowed`.

    Chernoff: P(X >= k) <= exp(-n KL(k/n || p)) for k/n > p.
    """
    share = bad / total
    if share <= allowed:
        return 0.0
    if allowed <= 0:
        return math.inf
    good = 0.0 if share == 1 else (1 - share) * math.log((1 - share) / (1 - allowed))
    return total * (share * math.log(share / allowed) + good)


def _bad(events: Events) -> int:
    return events.total - events.good
