"""What became of the calls of a load: by kind, and over time.

A tally of several processes is that of all their calls: histograms and counters add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from cascade_loadtest.histograms import Latencies
from cascade_loadtest.outcomes import Calls


@dataclass
class Window:
    """A stretch of time, by when calls were due.

    Attributes:
        due: calls that were due in it.
        sent: those of them that were sent.
        latencies: of the answers to them, from when they were due.
        failures: those that were not answered.
        tiers: answers, by who gave them.
    """

    due: int = 0
    sent: int = 0
    failures: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    tiers: Counter[str] = field(default_factory=Counter)

    def add(self, other: Window) -> None:
        """Take another's calls in."""
        self.due += other.due
        self.sent += other.sent
        self.failures += other.failures
        self.latencies.add(other.latencies)
        self.tiers.update(other.tiers)


@dataclass
class Tally:
    """Of a load.

    Attributes:
        window: seconds of each of `windows`.
        calls: by kind.
        windows: over time.
        lag: how late the generator itself took calls up, from when they were due; what it adds to
            what is measured from then.
        dropped: calls that were never sent, by why: the generator came to them too late, or no
            stream was free before their deadline. They are failures of the load, whoever's fault.
        cpu: share of a processor that each process of the generator took.
        began: Unix seconds of the first call's time.
    """

    window: float
    calls: dict[str, Calls] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    lag: Latencies = field(default_factory=Latencies)
    dropped: Counter[str] = field(default_factory=Counter)
    cpu: list[float] = field(default_factory=list)
    began: float = 0.0

    def at(self, due: float) -> Window:
        """The window of a time, seconds from the beginning."""
        number = max(0, math.floor(due / self.window))
        while len(self.windows) <= number:
            self.windows.append(Window())
        return self.windows[number]

    def add(self, other: Tally) -> None:
        """Take another process's calls in."""
        for name, each in other.calls.items():
            self.calls.setdefault(name, Calls()).add(each)
        for number, window in enumerate(other.windows):
            self.at((number + 0.5) * self.window).add(window)
        self.lag.add(other.lag)
        self.dropped.update(other.dropped)
        self.cpu += other.cpu
        self.began = min(self.began or other.began, other.began)

    def as_json(self) -> dict[str, Any]:
        """The tally as JSON, for the process that has started the generator."""
        return {
            "window": self.window,
            "calls": {name: each.as_json() for name, each in self.calls.items()},
            "windows": [
                [each.due, each.sent, each.failures, each.latencies.encode(), dict(each.tiers)]
                for each in self.windows
            ],
            "lag": self.lag.encode(),
            "dropped": dict(self.dropped),
            "cpu": self.cpu,
            "began": self.began,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """As `as_json` has it."""
        windows = [
            Window(due, sent, failures, Latencies.decode(latencies), Counter(tiers))
            for due, sent, failures, latencies, tiers in found["windows"]
        ]
        calls = {name: Calls.from_json(each) for name, each in found["calls"].items()}
        return cls(
            found["window"],
            calls,
            windows,
            Latencies.decode(found["lag"]),
            Counter(found["dropped"]),
            list(found["cpu"]),
            found["began"],
        )


def merged(tallies: Sequence[Tally]) -> Tally:
    """Those of several processes as one; at least one."""
    found = Tally(tallies[0].window)
    for each in tallies:
        found.add(each)
    return found
