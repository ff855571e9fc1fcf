"""What a load came to: answers in time, refusals, tails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from cascade_loadtest.core_speed import Speed
from cascade_loadtest.open_loop import End, Outcomes

from benchmarks.load.overload.server_counts import ServerCounts


@dataclass(frozen=True)
class Stretch:
    """One load, offered for a while to a server that knows no other, as its callers found it.

    Attributes:
        began, ended: monotonic seconds.
        found: by call.
        counts: what the server counted meanwhile.
        made: rows for the flood; 0 where there was none.
        making: seconds that it lasted; it begins first.
        server_cpu: processor seconds that the server took, all its processes.
    """

    began: float
    ended: float
    found: Outcomes
    counts: ServerCounts
    made: int
    making: float
    server_cpu: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """One load, over all its stretches.

    Attributes:
        load: offered calls a second over capacity.
        offered_per_s, goodput_per_s: calls a second that were due, and answers in their deadline.
        refused, late, failed: shares of the calls: refused, by the server or on this side; past
            their deadline; anything else.
        p50_ms, p99_ms: of the answers in time, from when the call was due; None: there was none.
        lag_ms: the .99 quantile of how late this client was, which p50 and p99 include.
        teacher: share of the answers that the teacher gave.
        flood_rows_per_s: offline rows made beside it.
        speed: of the cores meanwhile, over what it usually was; None: too busy to be sampled.
        callers_cores, server_cores: that callers and server kept busy; what is less than all was
            idle or others'.
    """

    load: float
    offered_per_s: float
    goodput_per_s: float
    refused: float
    late: float
    failed: float
    p50_ms: float | None
    p99_ms: float | None
    lag_ms: float
    teacher: float
    flood_rows_per_s: float
    speed: float | None
    callers_cores: float = 0.0
    server_cores: float = 0.0


def outcome(
    load: float, stretches: Sequence[Stretch], seconds: float, deadline: float, speed: Speed
) -> Outcome:
    """All stretches of a load.

    Args:
        seconds: that one of them lasts.
        deadline: seconds of a call, from when it is due.
    """
    seconds *= len(stretches)
    calls = sum(len(each.found.ends) for each in stretches)
    took = np.concatenate([each.found.in_time(deadline) for each in stretches])
    p50, p99 = (
        (round(1e3 * float(each), 3) for each in np.quantile(took, [0.5, 0.99]))
        if len(took)
        else (None, None)
    )
    speeds = []
    for each in stretches:
        with suppress(ValueError):  # no sample of it
            speeds.append(speed.between(each.began, each.ended))

    def share(*ends: End) -> float:
        return sum(each.found.count(*ends) for each in stretches) / calls

    answers = sum(each.counts.answers for each in stretches)
    lasted = sum(each.ended - each.began for each in stretches)
    return Outcome(
        load=load,
        offered_per_s=round(calls / seconds, 1),
        goodput_per_s=round(len(took) / seconds, 1),
        refused=round(share(End.REFUSED, End.REFUSED_HERE), 4),
        late=round(share(End.OK, End.LATE, End.GAVE_UP) - len(took) / calls, 4),
        failed=round(share(End.FAILED), 4),
        p50_ms=p50,
        p99_ms=p99,
        lag_ms=round(1e3 * max(each.found.lag for each in stretches), 3),
        teacher=round(sum(each.counts.by_teacher for each in stretches) / max(1, answers), 4),
        flood_rows_per_s=round(
            sum(each.made for each in stretches) / sum(each.making for each in stretches), 1
        ),
        speed=round(fmean(speeds), 3) if speeds else None,
        callers_cores=round(sum(each.found.cpu for each in stretches) / lasted, 3),
        server_cores=round(sum(each.server_cpu for each in stretches) / lasted, 3),
    )


def goodput_ratio(outcomes: Sequence[Outcome]) -> float:
    """The worst goodput of the loads that offer at least goodput's peak, over the peak."""
    peak = max(each.goodput_per_s for each in outcomes)
    worst = min(each.goodput_per_s for each in outcomes if each.offered_per_s >= peak)
    return worst / peak if peak else 0.0


@dataclass(frozen=True)
class Refusals:
    """Calls that callers saw the server refuse or let lapse, and those that its objectives counted.

    Attributes:
        seen: calls that the server ended with RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED, or whose
            stream it refused.
        given_up: calls whose deadline passed at their caller's. The server may have seen some of
            them end late too, so that they are among the counted: without them here, they would
            make up for refusals that were not counted.
        spent: events of the availability objective that were not good.
    """

    seen: int
    given_up: int
    spent: int

    @classmethod
    def in_stretches(cls, stretches: Sequence[Stretch]) -> Refusals:
        """Of all of them."""
        return cls(
            sum(each.found.count(End.REFUSED, End.LATE) for each in stretches),
            sum(each.found.count(End.GAVE_UP) for each in stretches),
            sum(each.counts.spent for each in stretches),
        )

    @property
    def ratio(self) -> float | None:
        """Counted to seen, given-up calls among the seen; None: none were seen."""
        seen = self.seen + self.given_up
        return self.spent / seen if seen else None
