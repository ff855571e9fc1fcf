"""Whether a server is there, and when to look again; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HealthConfig:
    """How servers are looked after.

    Attributes:
        period: seconds between looks at one that is there.
        timeout: seconds that a look may take.
        first_pause, most_pause: seconds until one that is away is asked again; twice as long each
            time, up to the last.
    """

    period: float = 1.0
    timeout: float = 2.0
    first_pause: float = 0.05
    most_pause: float = 1.0


@dataclass(frozen=True)
class Health:
    """What is known of a server.

    Attributes:
        up: whether it may be asked.
        failures: looks that failed since it was there.
        next_look: when, on the clock of deadlines.
        why: it is away.
    """

    up: bool = False
    failures: int = 0
    next_look: float = 0.0
    why: str = "it has not been asked yet"


def answered(now: float, config: HealthConfig) -> Health:
    """The health of a server that has just answered: it is there, and looked at again later."""
    return Health(True, 0, now + config.period, "")


def failed(health: Health, now: float, config: HealthConfig, why: str) -> Health:
    """A call or a look has failed: it is away at once, and asked again after a pause."""
    pause = min(config.most_pause, config.first_pause * 2.0 ** min(health.failures, 30))
    return Health(False, health.failures + 1, now + pause, why)
