"""Error budgets, burn rates and alerts: arithmetic on counts, as in the SRE Workbook, chapter 5.

A burn rate of 1 spends the whole budget in exactly its window; 14.4 spends 2 % of a 30-day budget
in an hour, and 6 spends 5 % of it in six hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# Seconds of the windows that burn rates are taken over, by what the field calls them.
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "6h": 21_600, "1d": 86_400, "3d": 259_200}


class Alert(StrEnum):
    """What a person should do about an objective."""

    OK = "ok"
    TICKET = "ticket"  # look at it within days
    PAGE = "page"  # get up


@dataclass(frozen=True)
class Pair:
    """Burning faster than `factor` over both windows is worth an alert.

    The long window says that it matters, the short one that it still goes on.
    """

    alert: Alert
    factor: float
    short: str
    long: str


# Bad events of the long window before an alert: of three calls one that is late burns the budget of
# a hundredth 33 times too fast, and is nothing to get up for.
LEAST_BAD = 10
# The gravest first.
PAIRS = (
    Pair(Alert.PAGE, 14.4, "5m", "1h"),
    Pair(Alert.PAGE, 6.0, "30m", "6h"),
    Pair(Alert.TICKET, 1.0, "6h", "3d"),
)


@dataclass(frozen=True)
class Events:
    """Of some window: how many there were, and how many of them were good."""

    good: int
    total: int

    @property
    def bad(self) -> int:
        """How many were not good."""
        return self.total - self.good

    @property
    def error_ratio(self) -> float:
        """The share that was bad; 0 where there were none."""
        return self.bad / self.total if self.total else 0.0


def burn_rate(events: Events, target: float) -> float:
    """How many times faster than allowed a window's events spend the budget."""
    return events.error_ratio / (1 - target)


def budget_remaining(events: Events, target: float) -> float:
    """The share of the budget that is left after its window's events; below 0: overspent."""
    return 1 - burn_rate(events, target)


def alert_of(windows: Mapping[str, Events], target: float, least_bad: int = LEAST_BAD) -> Alert:
    """The gravest alert that is called for.

    Args:
        windows: events by the windows of `WINDOWS`.
        target: the share of them that is to be good.
        least_bad: how many have to be bad, in the longer window of a pair.
    """
    for pair in PAIRS:
        short, long = (burn_rate(windows[name], target) for name in (pair.short, pair.long))
        if min(short, long) > pair.factor and windows[pair.long].bad >= least_bad:
            return pair.alert
    return Alert.OK
