"""Whether a server is up, and when to check again; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HealthConfig:
    """How servers are monitored.

    Attributes:
        period: seconds between checks of a server that is up.
        timeout: seconds that a check may take.
        first_pause, most_pause: seconds until a server that is down is checked again. The pause
            doubles each time, from the first to the largest.
    """

    period: float = 1.0
    timeout: float = 2.0
    first_pause: float = 0.05
    most_pause: float = 1.0


@dataclass(frozen=True)
class Health:
    """The known state of a server.

    Attributes:
        up: whether it may be asked.
        failures: failed checks since it was last up.
        next_look: when to check again, on the clock of deadlines.
        why: why it is down.
    """

    up: bool = False
    failures: int = 0
    next_look: float = 0.0
    why: str = "it has not been asked yet"


def answered(now: float, config: HealthConfig) -> Health:
    """Return the health of a server that has just answered: up, with the next check later."""
    return Health(True, 0, now + config.period, "")


def failed(health: Health, now: float, config: HealthConfig, why: str) -> Health:
    """Return the health after a failed call or check: down at once, checked again after a pause."""
    pause = min(config.most_pause, config.first_pause * 2.0 ** min(health.failures, 30))
    return Health(False, health.failures + 1, now + pause, why)
