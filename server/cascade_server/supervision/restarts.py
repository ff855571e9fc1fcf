"""When a child process that has ended is started again: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RestartConfig:
    """Of starting again.

    Attributes:
        first_pause, multiplier, longest_pause: seconds of rest before the second start in a row,
            how they grow, and what they do not exceed. The first is at once.
        healthy: seconds after which a process counts as one that works.
    """

    first_pause: float = 0.1
    multiplier: float = 2.0
    longest_pause: float = 10.0
    healthy: float = 30.0


@dataclass(frozen=True)
class Restarts:
    """Starts in a row of processes that did not become healthy."""

    failures: int = 0


def ended(restarts: Restarts, config: RestartConfig, lived: float) -> tuple[Restarts, float]:
    """After a process that lived so many seconds: the new state, and the pause before the next."""
    before = 0 if lived >= config.healthy else restarts.failures
    if before == 0:
        return Restarts(1), 0.0
    pause = config.first_pause * config.multiplier ** min(before - 1, 64)
    return Restarts(before + 1), min(pause, config.longest_pause)
