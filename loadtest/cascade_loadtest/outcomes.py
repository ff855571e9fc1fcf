"""What callers were given, from the processes that asked to the one that judges.

Locust itself rounds what calls took to whole milliseconds; a promise may be a few of them. Here
they are histograms to the microsecond, which add up over processes and machines.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cascade_loadtest.histograms import Latencies


@dataclass
class Calls:
    """Of one kind of call.

    Attributes:
        due: how long answers took from when the calls were due; of callers without a schedule,
            from when they asked.
        sent: the same from when they were sent.
        failures: calls that were not answered, by why.
        refused: calls that had to be refused, and were, by the code: neither answers nor failures.
        tiers: answers, by who gave them: "pool", "cache", "student", "teacher".
    """

    due: Latencies = field(default_factory=Latencies)
    sent: Latencies = field(default_factory=Latencies)
    failures: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Calls that were answered."""
        return self.due.count

    @property
    def count(self) -> int:
        """All calls that were to be answered, whether they were or not."""
        return self.answered + self.failures.total()

    def quantile(self, q: float) -> float:
        """Milliseconds in which a share of all calls was answered; infinite: fewer were."""
        return quantile(self.due, self.count, q)

    def add(self, other: Calls) -> None:
        """Take another's calls in."""
        self.due.add(other.due)
        self.sent.add(other.sent)
        self.failures.update(other.failures)
        self.refused.update(other.refused)
        self.tiers.update(other.tiers)

    def as_json(self) -> dict[str, Any]:
        """The outcomes as JSON, for the process that has started the generator."""
        return {
            "due": self.due.encode(),
            "sent": self.sent.encode(),
            "failures": dict(self.failures),
            "refused": dict(self.refused),
            "tiers": dict(self.tiers),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """As `as_json` has it."""
        return cls(
            Latencies.decode(found["due"]),
            Latencies.decode(found["sent"]),
            Counter(found["failures"]),
            Counter(found["refused"]),
            Counter(found["tiers"]),
        )


def quantile(answers: Latencies, calls: int, q: float) -> float:
    """Milliseconds in which a share `q` of all `calls` was answered; infinite: fewer were."""
    rank = math.ceil(q * calls - 1e-6)
    if not 0 < rank <= answers.count:
        return math.inf
    return float(1e3 * answers.at_ranks([rank])[0])


def together(calls: Mapping[str, Calls]) -> Calls:
    """All of them as one kind."""
    every = Calls()
    for each in calls.values():
        every.add(each)
    return every


class Recorder:
    """Keeps the outcome of every call of a process, and of processes that report to it."""

    def __init__(self) -> None:
        self.calls: dict[str, Calls] = {}
        self.began = self.ended = 0.0

    def note(
        self, name: str, seconds: float, tier: str | None = None, failure: str | None = None
    ) -> None:
        """A call has ended.

        Args:
            name: of its kind.
            seconds: that it took.
            tier: who answered it.
            failure: why it was not answered; None: it was.
        """
        calls = self._calls(name)
        if failure is not None:
            calls.failures[failure] += 1
            return
        calls.due.note(seconds)
        calls.sent.note(seconds)
        if tier is not None:
            calls.tiers[tier] += 1

    def note_refused(self, name: str, code: str) -> None:
        """A call that had to be refused was."""
        self._calls(name).refused[code] += 1

    def _calls(self, name: str) -> Calls:
        self.ended = time.time()
        self.began = self.began or self.ended
        return self.calls.setdefault(name, Calls())

    def as_json(self) -> dict[str, Any]:
        """Calls by name, and when the first and the last ended, Unix seconds."""
        calls = {name: each.as_json() for name, each in self.calls.items()}
        return {"began": self.began, "ended": self.ended, "calls": calls}

    def take(self) -> dict[str, Any]:
        """What there has been since it was taken last, for who reports it elsewhere."""
        found = self.as_json()
        self.calls, self.began, self.ended = {}, 0.0, 0.0
        return found

    def add_json(self, found: Mapping[str, Any]) -> None:
        """Take in what another process has taken."""
        for name, each in found["calls"].items():
            self.calls.setdefault(name, Calls()).add(Calls.from_json(each))
        if found["began"]:
            self.began = min(self.began or found["began"], found["began"])
            self.ended = max(self.ended, found["ended"])
