"""Learns how many requests the server may process at once from how long they take.

Pure functions of the limit's state; `Gate` keeps the state and counts the requests inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cascade_server.cascade.router import MARGIN
from cascade_server.terms import Priority


@dataclass(frozen=True)
class LimitConfig:
    """Settings of the adaptive limit.

    Attributes:
        initial, least, most: the limit at first, and its bounds, in requests.
        realtime_share: part of the limit that offline requests cannot use up.
        teacher_share: part of the limit that AUTO may fill with requests that wait for the teacher.
            The limit is learnt from the student's answers, which take a tenth of the time: if all
            of it waited for the teacher, the server would refuse what the student could answer.
        tolerance: how many times its usual latency a server may show before the limit shrinks.
        promised: seconds of the tightest latency objective; infinite if there is none.
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
        """Return the seconds that a request may take before the limit shrinks.

        At least a quarter of what is promised: an idle server answers in a fiftieth of that, and a
        few calls that happen to arrive together take several times as long as one alone, which is
        no reason to refuse any. At most half of what is promised: a server that has been slow for
        long must not learn slowness as its usual latency.

        Args:
            usual: seconds that a request usually takes.
        """
        allowed = self.tolerance * usual
        if math.isinf(self.promised):
            return allowed
        return min(self.promised / 2, max(self.promised / 4, allowed))

    def patience(self, remaining: float) -> float:
        """Return the seconds that a request may wait for its turn.

        A quarter of what is promised, since drawing and sending take time too, but never more than
        `in_time` leaves of the request's own deadline.

        Args:
            remaining: seconds to that deadline.
        """
        return min(self.promised / 4, in_time(remaining))


def in_time(remaining: float) -> float:
    """Return the seconds of `remaining` that may be used, without the router's margin."""
    return remaining * (1 - MARGIN)


@dataclass(frozen=True)
class Limit:
    """The state learnt so far.

    Attributes:
        value: requests that may be inside at once; fractional, since it moves in small steps.
        usual: seconds that a request usually takes, a slow average; 0 before the first.
    """

    value: float
    usual: float = 0.0


def updated(limit: Limit, config: LimitConfig, seconds: float, inside: int) -> Limit:
    """Update the limit with a request that took `seconds` while `inside` requests were inside.

    Gradient2 of Netflix's concurrency-limits: the limit is multiplied by allowed / seconds (from .5
    to 1), plus √limit to try for more. It moves only while at least half of it is in use, since an
    idle server does not show how much it could take. As there, a request is allowed tolerance ·
    usual seconds; `LimitConfig.allowed` bounds that.
    """
    weight = 1 / config.long_window
    usual = seconds if limit.usual == 0 else limit.usual + weight * (seconds - limit.usual)
    # After a long time under load the average is high; it must fall faster than it rose.
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
    """Return whether one more request may enter.

    Real-time requests may use the whole limit, and their share of it even when offline requests
    have used up the rest; offline requests may use only what lies outside that share.
    """
    if service is Priority.REALTIME:
        return room(limit, config, inside) > 0
    whole = int(limit.value)
    beside = max(1, whole - math.ceil(config.realtime_share * whole))
    return sum(inside.values()) < whole and inside[Priority.OFFLINE] < beside


def room(limit: Limit, config: LimitConfig, inside: Mapping[Priority, int]) -> int:
    """Return how many more real-time requests may enter."""
    whole = int(limit.value)
    guaranteed = math.ceil(config.realtime_share * whole)
    beside = whole - sum(inside.values())
    return max(0, beside, guaranteed - inside[Priority.REALTIME])


def crowded(limit: Limit, config: LimitConfig, waiting: int) -> bool:
    """Return whether AUTO must send no more requests to the teacher if `waiting` already wait."""
    return waiting >= max(1, int(config.teacher_share * limit.value))


def pushback_ms(limit: Limit, inside: int) -> int:
    """Return the milliseconds that a refused caller should wait.

    That is about the time in which the server answers the requests inside.
    """
    seconds = limit.usual * max(1.0, inside / max(limit.value, 1.0))
    return min(10_000, max(1, math.ceil(1e3 * seconds)))
