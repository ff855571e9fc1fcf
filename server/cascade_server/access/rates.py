"""Rates and quotas, as pure functions of earlier use and of the time.

A token bucket is kept as one number: the moment at which it will be full again (the "theoretical
arrival time" of the generic cell rate algorithm, ITU-T I.371). One number of 64 bits can be shared
by processes without a lock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cascade_server.access.grants import Rate

DAY = 86_400
# The largest time, in nanoseconds; leaves room in 64 bits for additions.
LAST = 2**62
# The longest wait before a retry, in seconds; a client should not wait an hour.
LONGEST_PUSHBACK = 60.0


def full_at(before: int, now: int, rate: Rate, tokens: int = 1) -> int:
    """Return when a bucket is full again, if tokens are taken now.

    Args:
        before: when it would be full without that, nanoseconds.
        now: nanoseconds on the same clock.
        rate: the bucket's rate.
        tokens: tokens to take. There may be fewer: the wait for the next one is then longer.
    """
    return min((before if before > now else now) + tokens * rate.token, LAST)


class Held(NamedTuple):
    """Rows held for a tenant until it gets them.

    Attributes:
        rows: number of rows.
        day: the day whose quota they come from.
        full_at: when the tenant's bucket is full after them, nanoseconds; 0: not from a bucket.
    """

    rows: int
    day: int
    full_at: int


def given_back(before: int, now: int, rate: Rate, held: Held) -> int:
    """Return when a bucket is full again, if taken tokens are given back.

    Time may have refilled them already: a bucket that has been full since lacks none. It cannot
    have been full before `held.full_at`.

    Args:
        before, now, rate: as for `full_at`.
        held: the taken tokens.
    """
    return before if now >= held.full_at else max(now, before - held.rows * rate.token)


def taken(before: int, now: int, rate: Rate) -> int:
    """Take one token in a single step, because every call does so.

    Returns when the bucket is full again, as `full_at`; if there is no token, the nanoseconds until
    there is one, as `wait`, negated.

    Args:
        before, now, rate: as for `full_at`.
    """
    if before <= now:
        return now + rate.token
    full = before + rate.token
    missing = full - now - rate.depth
    return full if missing <= 0 else -missing


def wait(before: int, now: int, rate: Rate) -> int:
    """Return the nanoseconds until there is a token; 0: there is one.

    Args:
        before, now, rate: as for `full_at`.
    """
    missing = before - now + rate.token - rate.depth
    return missing if missing > 0 and before > now else 0


def pushback_ms(seconds: float) -> int:
    """Return the value of `grpc-retry-pushback-ms` for a wait."""
    return max(1, math.ceil(1e3 * min(seconds, LONGEST_PUSHBACK)))


def day_of(seconds: float) -> int:
    """Return the UTC day of a moment, counted from 1970-01-01."""
    return int(seconds // DAY)
