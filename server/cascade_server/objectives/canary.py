"""Decides whether a canary is promoted, rolled back, or stays on trial; pure.

A version on trial must meet its table's objectives, but is not blamed for errors that the stable
version makes as often at the same time. It is judged again and again, so a difference counts only
if it is next to impossible by chance: the Chernoff bound gives the highest probability of so many
bad events if the canary were as good as required.
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
    """What to do with a canary."""

    WAIT = "wait"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class CanaryConfig:
    """The conditions of a decision.

    Attributes:
        seconds: least duration of a trial before a promotion.
        calls: least number of the canary's calls before a promotion.
        chance: a canary is worse if the probability of its errors by chance is below this.
        stable_z: the stable version's share of bad events is taken at its upper bound (Wilson's),
            this many standard errors above.
    """

    seconds: float = ServerConfig.canary_seconds
    calls: int = ServerConfig.canary_calls
    chance: float = 1e-4
    stable_z: float = 2.0


@dataclass(frozen=True)
class Outcome:
    """Calls of the stable version and of the canary during the trial, for one objective.

    An event is a call even for fidelity, whose budget counts rows: a statistical test needs
    independent events, and the rows of an answer are not independent.
    """

    objective: Objective
    stable: Events
    canary: Events


@dataclass(frozen=True)
class Judged:
    """A verdict and its reason in words, for a log."""

    verdict: Verdict
    reason: str


def judge(outcomes: Sequence[Outcome], elapsed: float, config: CanaryConfig) -> Judged:
    """Decide what to do with a canary.

    Args:
        outcomes: one for each of its table's objectives.
        elapsed: seconds since the trial began.
        config: the conditions.
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
    """Return the calls that the canary has answered, in classes with objectives.

    All objectives of a class count the same answers. Availability also counts refused calls, most
    of which never reached the canary.
    """
    calls: dict[ServiceClass, int] = {}
    for each in outcomes:
        kind, service = each.objective.kind, each.objective.service
        found = each.canary.good if kind is Kind.AVAILABILITY else each.canary.total
        calls[service] = min(calls.get(service, found), found)
    return sum(calls.values())


def allowed_ratio(outcome: Outcome, config: CanaryConfig) -> float:
    """Return the share of bad events that a canary may have.

    It is the objective's or the stable version's, whichever is larger.
    """
    budget = 1 - outcome.objective.target
    return max(budget, upper(_bad(outcome.stable), outcome.stable.total, config.stable_z))


def upper(bad: int, total: int, z: float) -> float:
    """Return Wilson's upper bound of a share; 0 if nothing is known."""
    if not total:
        return 0.0
    p, n = bad / total, total
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre + spread) / (1 + z * z / n)


def evidence(bad: int, total: int, allowed: float) -> float:
    """Return -ln of a bound on the chance of so many bad events if their share is `allowed`.

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
