"""Rates and quotas, as functions of what was let in before and of the time.

A token bucket is kept as one number: the moment at which it will be full again (the "theoretical
arrival time" of the generic cell rate algorithm, ITU-T I.371). One number of 64 bits can be shared
by processes without a lock.
"""

from __future__ import annotations

import math

from cascade_server.access.grants import Rate

DAY = 86_400
# Nobody is told to come back later: a client that waits an hour to try again waits wrongly.
LONGEST_PUSHBACK = 60.0


def full_at(before: float, now: float, rate: Rate, tokens: float) -> float:
    """When a bucket is full again of which some tokens are taken now.

    Args:
        before: when it would have been otherwise.
        now: on the same clock.
        rate: of the bucket.
        tokens: that are taken, though there may be fewer: who asks for many at once then waits
            longer for the next.
    """
    return max(before, now) + tokens / rate.per_second


def wait(before: float, now: float, rate: Rate, tokens: float = 1.0) -> float:
    """Seconds until so many tokens are there; 0: they are. No more are waited for than the bucket
    holds.

    Args:
        before, now, rate: as for `full_at`.
        tokens: that are asked for.
    """
    missing = (max(before, now) - now) * rate.per_second + min(tokens, rate.burst) - rate.burst
    return max(0.0, missing / rate.per_second) if missing > 1e-9 else 0.0


def pushback_ms(seconds: float) -> int:
    """When to come back, for `grpc-retry-pushback-ms`."""
    return max(1, math.ceil(1e3 * min(seconds, LONGEST_PUSHBACK)))


def day_of(seconds: float) -> int:
    """Which day of UTC a moment is in, counted from 1970-01-01."""
    return int(seconds // DAY)


def left_of_day(seconds: float) -> float:
    """Seconds until the next day of UTC begins."""
    return DAY - seconds % DAY
