"""Exemplars: for each bucket of the latency histogram, a trace of one of its calls."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cascade_server.telemetry.records import Record

Labels = tuple[str, str, str, str]


class Seen(NamedTuple):
    """A traced call.

    Attributes:
        trace_id: 32 hexadecimal digits.
        seconds: seconds that it took.
        at: when it ended, Unix seconds.
    """

    trace_id: str
    seconds: float
    at: float


class Exemplars:
    """The newest traced call of each bucket of each series.

    Args:
        bounds: bounds of the histogram, in increasing order, without the infinite one.
        clock: Unix seconds.
    """

    def __init__(self, bounds: Sequence[float], clock: Callable[[], float] = time.time) -> None:
        self._bounds, self._clock = (*bounds, math.inf), clock
        self._newest: dict[Labels, dict[int, Seen]] = {}

    def add(self, record: Record) -> None:
        """Keep a call, replacing the earlier one in its bucket."""
        if record.series is None:
            return
        *labels, seconds = record.series
        table, service, tier, code = labels
        of_series = self._newest.setdefault((table, service, tier, code), {})
        bucket = bisect_left(self._bounds, seconds)
        of_series[bucket] = Seen(record.trace_id, seconds, self._clock())

    def of(self, labels: Labels) -> dict[int, Seen]:
        """Return the calls of a series (table, class, tier, code), by the number of the bucket."""
        return self._newest.get(labels, {})
