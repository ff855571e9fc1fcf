"""How many requests may be inside the server at once, learnt from how long they take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cascade_server.cascade.router import MARGIN
from cascade_server.terms import Priority


@dataclass(frozen=True)
class LimitConfig:
    """Of the adaptive limit.

    Attributes:
        initial, least, most: of the limit, in requests.
        realtime_share: of the limit, kept for real-time requests whatever the others do.
        teacher_share: of the limit, that AUTO lets wait for the teacher. The limit is learnt from
            what the student answers, ten times as fast: filled with who waits for the teacher, the
            server would refuse what it could answer.
        tolerance: how many times its usual latency a server may show before the limit shrinks.
        promised: seconds within which answers are promised; infinite: nothing is.
        smoothing: weight of one observation in the limit.
        long_window: observations that the usual latency is averaged over.
    """

    initial: int = 64
    least: int = 8
    most: int = 4096
    realtime_share: float = 0.5
    teacher_share: float = 0.25
    tolerance: float = 1.5
    promised: float = math.inf
    smoothing: float = 0.2
    long_window: int = 600

    def allowed(self, usual: float) -> float:
        """Seconds that a request may take before the limit shrinks.

        An idle server answers in a fiftieth of what is usually promised, and calls that come by
        chance at once take several times as long as one alone: that is no reason to refuse any,
        before a quarter of the promise is used up. And a server that has been slow for long is not
        to take that as usual, beyond half of what it promised.
        """
        allowed = self.tolerance * usual
        if math.isinf(self.promised):
            return allowed
        return min(self.promised / 2, max(self.promised / 4, allowed))

    def patience(self, remaining: float) -> float:
        """Seconds that a request may wait for its turn.

        A quarter of what is promised, since to be drawn and sent takes time too; or what is left to
        who has less, without the margin that routing keeps back as well.

        Args:
            remaining: seconds to its deadline.
        """
        return min(self.promised / 4, in_time(remaining))


def in_time(remaining: float) -> float:
    """Seconds that may pass of what is left to a deadline, without the margin that routing keeps
    back as well."""
    return remaining * (1 - MARGIN)


@dataclass(frozen=True)
class Limit:
    """State of the limit.

    Attributes:
        value: requests inside at once, fractional between updates.
        usual: seconds a request usually takes, a slow average; 0 before the first.
    """

    value: float
    usual: float = 0.0


def updated(limit: Limit, config: LimitConfig, seconds: float, inside: int) -> Limit:
    """The limit after a request that took `seconds` while `inside` requests were.

    Gradient2 of Netflix's concurrency-limits: the limit is multiplied by allowed / now (from .5 to
    1), plus a queue of √limit to try for more; it moves only while at least half of it is in use,
    for an idle server says nothing of what it could take. What is allowed is theirs, tolerance ·
    usual, within the bounds of `LimitConfig`.
    """
    weight = 1 / config.long_window
    usual = seconds if limit.usual == 0 else limit.usual + weight * (seconds - limit.usual)
    # After a long time under load the average is high; it comes down faster than it went up.
    if usual > 2 * seconds:
        usual *= 0.95
    if inside < limit.value / 2:
        return Limit(limit.value, usual)
    gradient = min(1.0, max(0.5, config.allowed(usual) / seconds))
    wanted = limit.value * gradient + math.sqrt(limit.value)
    value = limit.value + config.smoothing * (wanted - limit.value)
    return Limit(min(float(config.most), max(float(config.least), value)), usual)


def admits(
    limit: Limit, config: LimitConfig, inside: Mapping[Priority, int], service: Priority
) -> bool:
    """Whether one more request of a class may enter.

    Real-time requests may use the whole limit, and always their share of it; offline ones what is
    beside that share.
    """
    if service is Priority.REALTIME:
        return room(limit, config, inside) > 0
    whole = int(limit.value)
    beside = max(1, whole - math.ceil(config.realtime_share * whole))
    return sum(inside.values()) < whole and inside[Priority.OFFLINE] < beside


def room(limit: Limit, config: LimitConfig, inside: Mapping[Priority, int]) -> int:
    """How many more real-time requests may enter."""
    whole = int(limit.value)
    guaranteed = math.ceil(config.realtime_share * whole)
    beside = whole - sum(inside.values())
    return max(0, beside, guaranteed - inside[Priority.REALTIME])


def crowded(limit: Limit, config: LimitConfig, waiting: int) -> bool:
    """Whether no more may wait for the teacher than the `waiting` who do, as far as AUTO goes."""
    return waiting >= max(1, int(config.teacher_share * limit.value))


def pushback_ms(limit: Limit, inside: int) -> int:
    """How long a refused caller should wait: about as long as the queue takes to become shorter."""
    seconds = limit.usual * max(1.0, inside / max(limit.value, 1.0))
    return min(10_000, max(1, math.ceil(1e3 * seconds)))
