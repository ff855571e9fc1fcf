"""Figures of rounds: what was measured in each, and the ratios of those that belong together.

A machine is not equally fast all the time, so servers that are compared take turns: one is started,
warmed, asked and ended, then the other, again and again. A ratio is of one round's figures; what is
told is the median of the rounds' ratios.
"""

from __future__ import annotations

from statistics import median


class Rounds:
    """Figures by key, one a round."""

    def __init__(self) -> None:
        self._figures: dict[str, list[float]] = {}

    def keep(self, **figures: float) -> None:
        """Add a round's figures."""
        for key, value in figures.items():
            self._figures.setdefault(key, []).append(value)

    def median(self, key: str) -> float:
        """The median of a figure over all rounds."""
        return round(median(self._figures[key]), 3)

    def medians(self) -> dict[str, float]:
        """The medians of all figures over the rounds, by key."""
        return {key: self.median(key) for key in self._figures}

    def ratio(self, over: str, under: str) -> float:
        """The median of the rounds' ratios."""
        pairs = zip(self._figures[over], self._figures[under], strict=True)
        return round(median(a / b for a, b in pairs), 3)
