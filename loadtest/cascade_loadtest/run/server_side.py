"""What the server says of the calls itself: sketches, counters, budgets; beside the callers'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cascade_client import Client
from cascade_client.values.service_level import ServiceClass, ServiceLevel
from cascade_client.values.statistics import ServerStatistics

from cascade_loadtest.histograms import Latencies


@dataclass(frozen=True)
class Sketch:
    """How long answers took in the server, of a table, class and tier.

    Attributes:
        name: "credit, realtime, student".
        count: answers.
        milliseconds: by quantile; within 1 %.
    """

    name: str
    count: int
    milliseconds: Mapping[float, float]


@dataclass(frozen=True)
class Budget:
    """An error budget after the run.

    Attributes:
        name, promise: whose, and of what.
        good, bad: events of the run.
        target: the share that is to be good.
        remaining: share of the budget of its whole window that is left.
        burn: how fast the run spent it: 1 spends it in exactly its window.
        alert: what burn rates call for.
    """

    name: str
    promise: str
    good: int
    bad: int
    target: float
    remaining: float
    burn: float
    alert: str


@dataclass(frozen=True)
class ServerSide:
    """All that the server said, of the run alone where it counts.

    Attributes:
        sketches: real-time answers and others of the last hour.
        budgets: of objectives that had an event.
        refused: calls that were refused because the server was full.
        overtaken: calls that the teacher was to answer and the student did.
        caller_faults: calls that were not answered through callers' own fault, in words, by count.
        rows: drawn, by engine.
        runs: of networks, by engine.
        pool_hits, pool_misses: requests that the pool answered, and that it could not.
        workers: processes that answer.
        notes: what is to be known of all this, in sentences.
        gone: why it could not be asked at the end, and so has told nothing; "": it was.
    """

    sketches: tuple[Sketch, ...] = ()
    budgets: tuple[Budget, ...] = ()
    refused: int = 0
    overtaken: int = 0
    caller_faults: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)
    pool_hits: int = 0
    pool_misses: int = 0
    workers: int = 1
    notes: tuple[str, ...] = ()
    gone: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What a server counts, at one time."""

    statistics: ServerStatistics
    level: ServiceLevel

    @classmethod
    def take(cls, client: Client) -> Snapshot:
        """As it is now."""
        return cls(client.statistics(timeout=10), client.service_level(timeout=10))


def between(before: Snapshot, after: Snapshot) -> ServerSide:
    """What the server counted of a run; its sketches are of the last hour, whatever is asked."""
    then = {each.name: each for each in before.level.objectives}
    budgets = []
    for each in after.level.objectives:
        old = then.get(each.name)
        good = each.good - (old.good if old else 0)
        total = each.total - (old.total if old else 0)
        if total > 0:
            bad = total - good
            burn = (bad / total) / (1 - each.target) if each.target < 1 else float(bad > 0)
            name = f"{each.table}, {each.service}"
            budgets.append(
                Budget(
                    name,
                    each.promise,
                    good,
                    bad,
                    each.target,
                    each.budget_remaining,
                    burn,
                    str(each.alert),
                )
            )
    old_faults = {(f.table, f.service, f.fault): f.calls for f in before.level.caller_faults}
    faults: dict[str, int] = {}
    for fault in after.level.caller_faults:
        more = fault.calls - old_faults.get((fault.table, fault.service, fault.fault), 0)
        if more:
            key = f"{fault.table}, {fault.service}: {fault.fault}"
            faults[key] = faults.get(key, 0) + more
    rows, runs = _engines(before.statistics, after.statistics)
    hits, misses = _pool(before.statistics, after.statistics)
    return ServerSide(
        tuple(
            Sketch(
                f"{each.table}, {each.service}, {each.tier}",
                each.count,
                {q: 1e3 * seconds for q, seconds in each.quantiles.items()},
            )
            for each in after.level.latencies
        ),
        tuple(budgets),
        after.statistics.refused - before.statistics.refused,
        after.statistics.overtaken - before.statistics.overtaken,
        faults,
        rows,
        runs,
        hits,
        misses,
        len(after.statistics.workers),
    )


def _engines(
    before: ServerStatistics, after: ServerStatistics
) -> tuple[dict[str, int], dict[str, int]]:
    old = {(e.table, e.version, e.tier): (e.rows, e.runs) for e in before.engines}
    rows: dict[str, int] = {}
    runs: dict[str, int] = {}
    for each in after.engines:
        was = old.get((each.table, each.version, each.tier), (0, 0))
        name = f"{each.table} {each.tier}"
        if each.runs - was[1] > 0:
            rows[name] = rows.get(name, 0) + each.rows - was[0]
            runs[name] = runs.get(name, 0) + each.runs - was[1]
    return rows, runs


def _pool(before: ServerStatistics, after: ServerStatistics) -> tuple[int, int]:
    def total(of: ServerStatistics) -> tuple[int, int]:
        releases = of.pool.releases if of.pool is not None else ()
        return sum(r.hits for r in releases), sum(r.misses for r in releases)

    (hits, misses), (old_hits, old_misses) = total(after), total(before)
    return hits - old_hits, misses - old_misses


@dataclass(frozen=True)
class Gap:
    """One quantile, as the server and its callers see it, milliseconds.

    Attributes:
        quantile: the share.
        server: in the server, of real-time answers of the tier that gave most.
        sent: from when calls were sent, as their callers see it.
        due: from when they were due.
    """

    quantile: float
    server: float
    sent: float
    due: float

    @property
    def between(self) -> float:
        """What lies between the two: the kernel, both event loops, the wait to be read."""
        return self.sent - self.server

    @property
    def before(self) -> float:
        """What lies before a call is sent: the generator's lag, and the wait for a free stream."""
        return self.due - self.sent


def gaps(server: ServerSide, table: str, due: Latencies, sent: Latencies) -> tuple[Gap, ...]:
    """The server's sketch of real-time answers beside the callers' histograms."""
    begin = f"{table}, {ServiceClass.REALTIME}"
    own = [each for each in server.sketches if each.name.startswith(begin)]
    if not own or not sent.count:
        return ()
    largest = max(own, key=lambda each: each.count)
    return tuple(
        Gap(q, milliseconds, 1e3 * sent.quantile(q), 1e3 * due.quantile(q))
        for q, milliseconds in largest.milliseconds.items()
    )
