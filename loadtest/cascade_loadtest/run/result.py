"""What a run has found: all that is judged, printed and drawn."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from cascade_loadtest.generator.processes import Capacity
from cascade_loadtest.generator.tally import Tally
from cascade_loadtest.histograms import Latencies
from cascade_loadtest.outcomes import Calls, quantile, together
from cascade_loadtest.run.memory import Samples, growth
from cascade_loadtest.run.server_side import Gap, ServerSide
from cascade_loadtest.sla import Measured, Verdict, all_kept
from cascade_loadtest.users.kinds import BEGINS

# Percentiles that are told.
SHARES = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Job:
    """The offline job beside the calls.

    Attributes:
        fidelity: "full" or "fast".
        rows: made during the run.
        rows_per_s: the same a second; 0 where a job failed.
        failed: why it did; "": it did not.
    """

    fidelity: str
    rows: int
    rows_per_s: float
    failed: str = ""


@dataclass(frozen=True)
class Result:
    """Of a run.

    Attributes:
        options: what it was told.
        command: as it was typed.
        began: when.
        tally: what the open loop's calls were given.
        per_s: calls a second that the profile asks for at its highest.
        capacity: one worker's, as it was measured; None: it was not.
        users: what Locust's users were given, by kind of call; None: there were none.
        job: None: there was none.
        samples: of the server's processes.
        server: what the server counted.
        gaps: its latencies beside the callers'.
        machine: what all of this was measured on.
        verdicts: of what was promised.
    """

    options: argparse.Namespace
    command: str
    began: datetime
    tally: Tally
    per_s: float
    capacity: Capacity | None
    users: Mapping[str, Calls] | None
    job: Job | None
    samples: Sequence[Samples]
    server: ServerSide
    gaps: Sequence[Gap]
    machine: Mapping[str, str]
    verdicts: Sequence[Verdict] = field(default=())

    @property
    def kept(self) -> bool:
        """Whether no promise was missed."""
        return all_kept(self.verdicts)

    @property
    def real_time(self) -> Calls:
        """The open loop's calls, of all kinds."""
        return together(self.tally.calls)

    @property
    def calls(self) -> dict[str, Calls]:
        """All calls by kind, the open loop's first."""
        return {**self.tally.calls, **(self.users or {})}

    @property
    def seconds(self) -> float:
        """From the first call to the last window's end."""
        return self.tally.window * len(self.tally.windows)

    @property
    def due(self) -> int:
        """Calls of the open loop."""
        return sum(each.due for each in self.tally.windows)

    def growth(self) -> dict[str, float] | None:
        """Of the server's processes that were there all the while; None: the run is too short."""
        found = {each.name: growth(each, self.seconds) for each in self.samples}
        told = {name: share for name, share in found.items() if share is not None}
        return told or None

    def measured(self) -> Measured:
        """What `sla.judge` needs of the result."""
        return Measured(
            self.calls,
            tuple(self.tally.calls),
            BEGINS if self.users is None else (),
            self.tally.lag,
            self.due,
            self.tally.dropped.total(),
            None if self.job is None else self.job.rows_per_s,
            self.growth(),
        )

    def summary(self) -> dict[str, Any]:
        """For programs: what was promised, and what was found."""
        every, real_time = self.calls, self.real_time
        options = self.options
        return {
            "kept": self.kept,
            "table": options.table,
            "profile": options.profile,
            "arrivals": options.arrivals,
            "users": options.users,
            "seconds": round(self.seconds, 3),
            "capacity_per_s": self.capacity and round(self.capacity.per_s, 1),
            "capacity_of": options.capacity,
            "per_s": round(self.per_s, 1),
            "achieved_per_s": round(real_time.answered / self.seconds, 1) if self.seconds else 0.0,
            "calls": sum(each.count for each in every.values()),
            "real_time": {
                "due": self.due,
                "answered": real_time.answered,
                "from_due_ms": _of_all(real_time.due, real_time.count),
                "from_sent_ms": _of_all(real_time.sent, real_time.count),
                "tiers": dict(real_time.tiers),
            },
            "generator": {
                "lag_ms": _milliseconds(self.tally.lag),
                "dropped": dict(self.tally.dropped),
                "cpu": [round(each, 3) for each in self.tally.cpu],
            },
            "job": self.job and asdict(self.job),
            "memory_growth": self.growth(),
            "failures": _counted({name: each.failures for name, each in every.items()}),
            "refused": _counted({name: each.refused for name, each in every.items()}),
            "tiers": _counted({name: each.tiers for name, each in every.items()}),
            "objectives": [asdict(each) for each in self.verdicts],
        }

    def series(self) -> dict[str, Any]:
        """The same, over time, with what it was measured on: all that the report shows."""
        windows = []
        for number, each in enumerate(self.tally.windows):
            p50, p99, worst = (1e3 * each.latencies.quantiles([0.5, 0.99, 1.0])).tolist()
            known = bool(each.latencies.count)
            windows.append(
                {
                    "seconds": number * self.tally.window,
                    "due": each.due,
                    "sent": each.sent,
                    "answered": each.latencies.count,
                    "failures": each.failures,
                    "p50_ms": p50 if known else None,
                    "p99_ms": p99 if known else None,
                    "worst_ms": worst if known else None,
                    "tiers": dict(each.tiers),
                }
            )
        return {
            **self.summary(),
            "command": self.command,
            "began": self.began.isoformat(),
            "machine": dict(self.machine),
            "windows": windows,
            "processes": [asdict(each) for each in self.samples],
            "server": asdict(self.server),
            "gaps": [asdict(each) for each in self.gaps],
        }


def _counted(found: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Without those of which there is nothing to tell."""
    return {name: dict(each) for name, each in found.items() if each}


def _of_all(answers: Latencies, calls: int) -> dict[str, float | None]:
    """Of all calls, as they are judged; None: so many were not answered. The worst is that of the
    answers."""
    if not calls:
        return {}
    told: dict[str, float | None] = {}
    for q in SHARES:
        found = quantile(answers, calls, q)
        told[f"p{100 * q:.10g}"] = None if math.isinf(found) else round(found, 3)
    return {**told, "worst": round(1e3 * answers.worst, 3) if answers.count else None}


def _milliseconds(found: Latencies) -> dict[str, float]:
    if not found.count:
        return {}
    told = {f"p{100 * q:.10g}": round(1e3 * found.quantile(q), 3) for q in SHARES}
    return {**told, "worst": round(1e3 * found.worst, 3)}
