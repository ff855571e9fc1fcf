"""Rates and quotas, as functions of what was let in before and of the time.

A token bucket is kept as one number: the moment at which it will be full again (the "theoretical
arrival time" of the generic cell rate algorithm, ITU-T I.371). One number of 64 bits can be shared
by processes without a lock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cascade_server.access.grants import Rate

DAY = 86_400
# The last moment there is: in nanoseconds, with room in 64 bits for what is added to it.
LAST = 2**62
# Nobody is told to come back later: a client that waits an hour to try again waits wrongly.
LONGEST_PUSHBACK = 60.0


def full_at(before: int, now: int, rate: Rate, tokens: int = 1) -> int:
    """When a bucket is full again of which some tokens are taken now.

    Args:
        before: when it would have been otherwise, nanoseconds.
        now: on the same clock.
        rate: of the bucket.
        tokens: that are taken, though there may be fewer: who asks for many at once then waits
            longer for the next.
    """
    return min((before if before > now else now) + tokens * rate.token, LAST)


class Held(NamedTuple):
    """Rows that a tenant may be let have.

    Attributes:
        rows: how many.
        day: of whose quota.
        full_at: when its bucket is full again after them, nanoseconds; 0: they are of no bucket.
    """

    rows: int
    day: int
    full_at: int


def given_back(before: int, now: int, rate: Rate, held: Held) -> int:
    """When a bucket is full again to which tokens are given back that were taken of it.

    Time may have given them back already: a bucket that has been full since lacks none of them. It
    has not been before the moment at which it was to be.

    Args:
        before, now, rate: as for `full_at`.
        held: what was taken.
    """
    return before if now >= held.full_at else max(now, before - held.rows * rate.token)


def taken(before: int, now: int, rate: Rate) -> int:
    """When a bucket is full again of which one token is taken now, as `full_at`; if there is none,
    the nanoseconds until there is, as `wait`, with a minus. Once a call, and so in one step.

    Args:
        before, now, rate: as for `full_at`.
    """
    if before <= now:
        return now + rate.token
    full = before + rate.token
    missing = full - now - rate.depth
    return full if missing <= 0 else -missing


def wait(before: int, now: int, rate: Rate) -> int:
    """Nanoseconds until there is a token; 0: there is one.

    Args:
        before, now, rate: as for `full_at`.
    """
    missing = before - now + rate.token - rate.depth
    return missing if missing > 0 and before > now else 0


def pushback_ms(seconds: float) -> int:
    """When to come back, for `grpc-retry-pushback-ms`."""
    return max(1, math.ceil(1e3 * min(seconds, LONGEST_PUSHBACK)))


def day_of(seconds: float) -> int:
    """Which day of UTC a moment is in, counted from 1970-01-01."""
    return int(seconds // DAY)
