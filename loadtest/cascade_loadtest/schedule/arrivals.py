"""When each call is due. An open loop asks then, whatever became of the calls before.

Callers do not wait for one another: a payment comes when somebody pays. A closed loop, whose
callers ask again once they were answered, measures a slow server at the server's own pace
(coordinated omission), and so does not see what it is there to see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.schedule.profiles import Curve

POISSON, CONSTANT = "poisson", "constant"
PATTERNS = (POISSON, CONSTANT)


def arrivals(curve: Curve, pattern: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times at which calls are due on a curve: seconds from 0, increasing.

    Args:
        curve: calls a second over time.
        pattern: "poisson": callers that know nothing of each other, which come in bunches too;
            "constant": as evenly as the curve allows.
        rng: of the former.

    Each arrival is a step of the expected count, of 1 or exponential with mean 1, and the time at
    which the curve's integral reaches their sum (inversion: Lewis and Shedler 1979, section 1).

    Raises:
        LoadFailed: there is no such pattern.
    """
    expected = curve.expected
    total = float(expected[-1])
    if pattern == CONSTANT:
        reached = np.arange(1, int(total) + 1, dtype=np.float64)
    elif pattern == POISSON:
        # Enough of them but for one run in 10^9: six standard deviations more than there will be.
        steps = rng.exponential(1.0, int(total + 6 * np.sqrt(total)) + 50)
        reached = np.cumsum(steps)
        reached = reached[reached < total]
    else:
        raise LoadFailed(f"arrivals are {pattern!r}; allowed: {' or '.join(PATTERNS)}")
    return _when(curve, expected, reached)


def _when(
    curve: Curve, expected: NDArray[np.float64], reached: NDArray[np.float64]
) -> NDArray[np.float64]:
    """When the curve's integral reaches some counts. Between two points it is a parabola."""
    last = len(curve.times) - 1
    left = np.clip(np.searchsorted(expected, reached, side="right") - 1, 0, last - 1)
    width = curve.times[left + 1] - curve.times[left]
    low, rise = curve.rates[left], curve.rates[left + 1] - curve.rates[left]
    slope = np.divide(rise, width, out=np.zeros_like(width), where=width > 0)
    more = reached - expected[left]
    # low t + slope t²/2 = more, solved so that a slope of 0 divides by nothing small.
    root = np.sqrt(np.maximum(low * low + 2 * slope * more, 0.0))
    after = np.divide(2 * more, low + root, out=np.zeros_like(more), where=low + root > 0)
    found: NDArray[np.float64] = curve.times[left] + np.minimum(after, width)
    return found
