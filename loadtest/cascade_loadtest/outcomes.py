"""What callers were given, call by call, from the process that asked to the one that judges.

Locust itself rounds what calls took to whole milliseconds; a promise may be a few of them.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Calls:
    """Of one kind of call.

    Attributes:
        milliseconds: of each answer, from call to answer.
        failures: calls that were not answered, by the error that they raised.
        tiers: answers, by the tier that gave them.
    """

    milliseconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """All calls, answered or not."""
        return len(self.milliseconds) + self.failures.total()

    def quantile(self, q: float) -> float:
        """Milliseconds in which a share of all calls was answered; infinite: fewer were."""
        rank = math.ceil(q * self.count)
        if not 0 < rank <= len(self.milliseconds):
            return math.inf
        return sorted(self.milliseconds)[rank - 1]

    def __add__(self, other: Calls) -> Calls:
        return Calls(
            self.milliseconds + other.milliseconds,
            self.failures + other.failures,
            self.tiers + other.tiers,
        )

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """As `Recorder.as_json` has it."""
        return cls(found["milliseconds"], Counter(found["failures"]), Counter(found["tiers"]))


class Recorder:
    """Keeps the outcome of every call of a process."""

    def __init__(self) -> None:
        self._calls: dict[str, Calls] = {}
        self._began = self._ended = 0.0

    def note(
        self, name: str, milliseconds: float, tier: str | None, failure: Exception | None
    ) -> None:
        """A call has ended."""
        self._ended = time.monotonic()
        self._began = self._began or self._ended
        calls = self._calls.setdefault(name, Calls())
        if failure is not None:
            calls.failures[type(failure).__name__] += 1
            return
        calls.milliseconds.append(milliseconds)
        calls.tiers[tier or "unknown"] += 1

    def as_json(self) -> dict[str, Any]:
        """Calls by name, and the seconds between the first that ended and the last."""
        return {
            "seconds": self._ended - self._began,
            "calls": {
                name: {
                    "milliseconds": [round(each, 3) for each in calls.milliseconds],
                    "failures": dict(calls.failures),
                    "tiers": dict(calls.tiers),
                }
                for name, calls in self._calls.items()
            },
        }
