"""How many calls a second are due, over a run: the shapes that `make loadtest PROFILE=` knows.

A profile is drawn in shares of the run's rate, 1 at most, so that the rate that is named is the
highest there is, whatever its shape: a promise that holds at it holds for the whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_loadtest.errors import LoadFailed


@dataclass(frozen=True)
class Curve:
    """Calls a second over time, linear between its points.

    Attributes:
        times: seconds from 0 to the run's end, increasing; equal ones are a jump.
        rates: calls a second then.
    """

    times: NDArray[np.float64]
    rates: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        """How long the run is."""
        return float(self.times[-1])

    @property
    def expected(self) -> NDArray[np.float64]:
        """Calls that are to be due until each of the times, on average."""
        steps = np.diff(self.times) * (self.rates[1:] + self.rates[:-1]) / 2
        return np.concatenate([[0.0], np.cumsum(steps)])

    def rate(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calls a second at some times; at a jump, those after it."""
        after = np.searchsorted(self.times, seconds, side="right")
        right = np.clip(after, 1, len(self.times) - 1)
        left = right - 1
        width = self.times[right] - self.times[left]
        share = np.where(width > 0, (seconds - self.times[left]) / np.maximum(width, 1e-12), 1.0)
        found: NDArray[np.float64] = self.rates[left] + share * (
            self.rates[right] - self.rates[left]
        )
        return found


def _levels(seconds: float, levels: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of a curve that jumps: (share of the run, share of the rate) of each level."""
    points, begun = [], 0.0
    for length, level in levels:
        points += [(begun * seconds, level), ((begun + length) * seconds, level)]
        begun += length
    return points


def _constant(seconds: float) -> list[tuple[float, float]]:
    return [(0.0, 1.0), (seconds, 1.0)]


def _steps(seconds: float) -> list[tuple[float, float]]:
    return _levels(seconds, [(0.25, 0.25), (0.25, 0.5), (0.25, 0.75), (0.25, 1.0)])


def _spikes(seconds: float) -> list[tuple[float, float]]:
    """A quarter of the rate, and every ten seconds all of it for one; three spikes at least."""
    period = min(10.0, seconds / 3)
    count = max(1, int(seconds // period))
    points = []
    for number in range(count):
        start = number * period
        points += [(start, 0.25), (start + 0.5 * period, 0.25)]
        points += [(start + 0.5 * period, 1.0), (start + 0.6 * period, 1.0)]
        points += [(start + 0.6 * period, 0.25), (start + period, 0.25)]
    return [*points, (seconds, 0.25)]


def _soak(seconds: float) -> list[tuple[float, float]]:
    """A day in small: up and down between half the rate and all of it, six times."""
    share = np.linspace(0, 1, 241)
    level = 0.75 - 0.25 * np.cos(2 * np.pi * 6 * share)
    return [(float(at * seconds), float(rate)) for at, rate in zip(share, level, strict=True)]


PROFILES: dict[str, tuple[str, Callable[[float], list[tuple[float, float]]]]] = {
    "constant": ("the rate, from beginning to end", _constant),
    "steps": ("a quarter of the rate, a half, three quarters, all of it", _steps),
    "spikes": ("a quarter of the rate, and all of it for a second of each ten", _spikes),
    "soak": ("up and down between half the rate and all of it, six times", _soak),
}
# Of these the trace itself says when calls are due.
REPLAY = "replay"


def curve(profile: str, per_s: float, seconds: float) -> Curve:
    """A profile at a rate.

    Args:
        profile: one of `PROFILES`.
        per_s: calls a second, the highest; > 0.
        seconds: of the run; > 0.

    Raises:
        LoadFailed: there is no such profile.
    """
    if profile not in PROFILES:
        raise LoadFailed(f"profile is {profile!r}; allowed: {', '.join(PROFILES)} or {REPLAY}")
    points = np.array(PROFILES[profile][1](seconds))
    return Curve(points[:, 0], per_s * points[:, 1])
