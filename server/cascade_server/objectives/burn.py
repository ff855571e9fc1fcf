"""Error budgets, burn rates and alerts: arithmetic on counts, as in the SRE Workbook, chapter 5.

A burn rate of 1 spends the whole budget in exactly its window; 14.4 spends 2 % of a 30-day budget
in an hour, and 6 spends 5 % of it in six hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# Seconds of the windows for burn rates, by their usual names.
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "6h": 21_600, "1d": 86_400, "3d": 259_200}


class Alert(StrEnum):
    """What a person should do about an objective."""

    OK = "ok"
    TICKET = "ticket"  # look at it within days
    PAGE = "page"  # get up


@dataclass(frozen=True)
class Pair:
    """An alert is due if the burn rate exceeds `factor` over both windows.

    The long window shows that the errors matter, the short one that they continue.
    """

    alert: Alert
    factor: float
    short: str
    long: str


# Least number of bad events in the long window for an alert: one late call of three burns a budget
# of one hundredth 33 times too fast, and is no reason to wake anybody.
LEAST_BAD = 10
# The most severe first.
PAIRS = (
    Pair(Alert.PAGE, 14.4, "5m", "1h"),
    Pair(Alert.PAGE, 6.0, "30m", "6h"),
    Pair(Alert.TICKET, 1.0, "6h", "3d"),
)


@dataclass(frozen=True)
class Events:
    """All events and good events of a window."""

    good: int
    total: int

    @property
    def bad(self) -> int:
        """Number of events that were not good."""
        return self.total - self.good

    @property
    def error_ratio(self) -> float:
        """Share of events that were bad; 0 if there were none."""
        return self.bad / self.total if self.total else 0.0


def burn_rate(events: Events, target: float) -> float:
    """Return how many times faster than allowed the events of a window spend the budget."""
    return events.error_ratio / (1 - target)


def budget_remaining(events: Events, target: float) -> float:
    """Return the share of the budget left after its window's events; below 0 if overspent."""
    return 1 - burn_rate(events, target)


def alert_of(windows: Mapping[str, Events], target: float, least_bad: int = LEAST_BAD) -> Alert:
    """Return the most severe alert that is due.

    Args:
        windows: events by the windows of `WINDOWS`.
        target: the share of events that should be good.
        least_bad: least number of bad events in the longer window of a pair.
    """
    for pair in PAIRS:
        short, long = (burn_rate(windows[name], target) for name in (pair.short, pair.long))
        if min(short, long) > pair.factor and windows[pair.long].bad >= least_bad:
            return pair.alert
    return Alert.OK
