"""How many workers, and so cores, a load takes.

A worker is one process with one event loop: calls that come by chance and take a service time S
wait for each other as in an M/G/1 queue. Let rho be the share of the time that a worker is busy.
By Pollaczek and Khinchine the mean wait is E[W] = rho S (1 + c^2) / (2 (1 - rho)), c^2 being the
squared coefficient of variation of S; and, as in heavy traffic, whoever waits at all, which is a
share rho of all calls, waits an exponential time of mean E[W] / rho, so that

    wait at .99 = E[W] / rho * ln(100 rho)      (0 where rho <= .01)

Where the curves say how late calls were in fact, by how busy the worker was, that is taken, and the
worse of both where they differ. The busiest that a worker may be for the wanted p99 is then how
busy all of them are, at most `MOST_BUSY`: what comes in bursts needs the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cascade_cost.curves import Busy, Curves, Point
from cascade_cost.errors import NotPossible

MOST_BUSY = 0.75
# Squared coefficient of variation of the service time: calls of one kind vary little; a mixture of
# kinds, and the machine, add variation.
VARIATION = 1.0
# Number of utilisations at which latencies are computed.
STEPS = 751
HOURS_A_MONTH = 730


@dataclass(frozen=True)
class Load:
    """Load on a server.

    Attributes:
        rate: total calls per second, with random arrivals.
        late: columns that are drawn in each row; columns: of the table; 0: as measured.
        rows, draws: of a call.
        p99: target in seconds for 99 of 100 calls, measured from their due time.
    """

    rate: float
    late: int = 3
    rows: int = 1
    draws: int = 1
    p99: float = 0.01
    columns: int = 0

    @property
    def values(self) -> int:
        """Number of values drawn for a call."""
        return self.late * self.rows * self.draws


@dataclass(frozen=True)
class Size:
    """Required size of a server.

    Attributes:
        workers: processes that answer, of one core each.
        cores: of these, and one for the teacher if the pool, jobs or full fidelity are wanted.
        memory_mib: of all processes.
        core_seconds, alone_p99: worker time of a call, and its latency without other calls.
        utilisation, most_utilisation: of each worker, and its upper limit.
        p99: expected, in seconds.
        calls_a_worker: most calls per second and worker.
        assumptions: of this estimate, in sentences.
    """

    workers: int
    cores: int
    memory_mib: float
    core_seconds: float
    alone_p99: float
    utilisation: float
    most_utilisation: float
    p99: float
    calls_a_worker: float
    assumptions: tuple[str, ...] = field(default=())


def mean_wait(utilisation: float, service: float, variation: float = VARIATION) -> float:
    """Return the mean wait of a call in seconds (Pollaczek-Khinchine)."""
    return utilisation * service * (1 + variation) / (2 * (1 - utilisation))


def wait_at(quantile: float, utilisation: float, service: float) -> float:
    """Return a quantile of a call's wait in seconds; see the module's docstring."""
    left = 1 - quantile
    if utilisation <= left:
        return 0.0
    return mean_wait(utilisation, service) / utilisation * math.log(utilisation / left)


def measured_ratio(busy: Sequence[Busy], utilisation: float) -> float:
    """Interpolate the measured ratio of the p99 to that of single calls.

    It is 1 below the measured range; beyond it, the last ratio is used, which is no guarantee.
    """
    if not busy:
        return 1.0
    known = [(0.0, 1.0), *((each.utilisation, each.p99_ratio) for each in busy)]
    at, ratios = zip(*known, strict=True)
    return max(1.0, float(np.interp(utilisation, at, np.maximum.accumulate(ratios))))


def fitted(points: Sequence[Point], of: Callable[[Point], float]) -> Callable[[int, int], float]:
    """Fit a line to measured points, by columns and drawn values, with least relative squares.

    No coefficient is negative, since no call is faster for asking more; a term whose coefficient
    would be negative is left out.
    """
    rows = [(1.0, float(each.columns), float(each.values)) for each in points]
    wanted = np.array([of(each) for each in points])
    features = np.array(rows) / wanted[:, None]
    parts = [0, 1, 2] if len({each.columns for each in points}) > 1 else [0, 2]
    while True:
        found = np.linalg.lstsq(features[:, parts], np.ones(len(wanted)), rcond=None)[0]
        below = [part for part, each in zip(parts, found, strict=True) if each < 0]
        if not below or len(parts) == 1:
            break
        parts = [part for part in parts if part not in below] or [0]
    line = np.zeros(3)
    line[parts] = np.maximum(found, 0.0)

    def predict(columns: int, values: int) -> float:
        return float(line @ np.array((1.0, columns, values)))

    return predict


def size(load: Load, curves: Curves, table: str = "", with_teacher: bool = True) -> Size:
    """Compute how many workers a load takes.

    Args:
        load: on the server.
        curves: measurements.
        table: of the calls; for a table that was not measured, all measurements are used.
        with_teacher: whether to add a core for the teacher's process.

    Raises:
        NotPossible: no number of workers meets the p99; says why.
    """
    points = curves.of(table)
    columns = load.columns or max(each.columns for each in points)
    service = fitted(points, lambda each: each.core_ms)(columns, load.values) / 1e3
    alone = fitted(points, lambda each: each.p99_ms)(columns, load.values) / 1e3
    alone = max(alone, service)
    if load.p99 < alone:
        raise NotPossible(
            f"a p99 of {1e3 * load.p99:g} ms cannot be kept by any number of cores: such a call "
            f"takes {1e3 * alone:.2f} ms at .99 where the server does nothing else; ask for fewer "
            "draws, rows or late columns, or for more time"
        )

    def latency(utilisation: float) -> float:
        modelled = alone + wait_at(0.99, utilisation, service)
        return max(modelled, alone * measured_ratio(curves.busy, utilisation))

    most = max(
        (each for each in np.linspace(0, MOST_BUSY, STEPS).tolist() if latency(each) <= load.p99),
        default=0.0,
    )
    if most <= 0:
        raise NotPossible(
            f"a p99 of {1e3 * load.p99:g} ms leaves no time to wait: such a call takes "
            f"{1e3 * alone:.2f} ms at .99 where the server does nothing else"
        )
    workers = 1
    while load.rate * service > most * workers * _scaled(curves, workers):
        workers += 1
    busy = load.rate * service / (workers * _scaled(curves, workers))
    memory = workers * curves.worker_mib + (curves.teacher_mib if with_teacher else 0.0)
    return Size(
        workers=workers,
        cores=workers + with_teacher,
        memory_mib=memory,
        core_seconds=service,
        alone_p99=alone,
        utilisation=busy,
        most_utilisation=most,
        p99=latency(busy),
        calls_a_worker=most / service,
        assumptions=_assumptions(load, curves, table, most, with_teacher),
    )


def _scaled(curves: Curves, workers: int) -> float:
    """Return a worker's speed among this many, relative to a single one: as measured for the
    nearest number.
    """
    if workers == 1 or not curves.scaling:
        return 1.0
    known = sorted(each for each in curves.scaling if each <= workers)
    return min(1.0, curves.scaling[known[-1]]) if known else 1.0


def _assumptions(
    load: Load, curves: Curves, table: str, most: float, with_teacher: bool
) -> tuple[str, ...]:
    said = [
        f"measured on {curves.machine}; on another machine measure again: "
        "python -m benchmarks.sizing --curves FILE, then --curves FILE",
        "calls come by chance (Poisson), each connection to any worker, and are answered by the "
        "student: what pool or cache answer takes less",
        f"a worker is busy {100 * most:.0f} % of the time at most: by an M/G/1 queue with a "
        f"squared variation of {VARIATION:g}, and by what was measured where that is worse",
    ]
    if table and table not in curves.tables:
        said.append(f"table {table} was not measured: taken from {', '.join(curves.tables)}")
    largest = max(each.values for each in curves.of(table))
    if load.values > largest:
        said.append(f"{load.values:,} values a call: beyond the {largest:,} that were measured")
    beyond = max(curves.scaling, default=1)
    said.append(f"more workers than {beyond} scale as {beyond} did; nothing else takes the cores")
    if with_teacher:
        said.append("one core more is the teacher's: for the pool, for jobs and full fidelity")
    return tuple(said)
