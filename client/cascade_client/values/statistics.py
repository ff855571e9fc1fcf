"""Counters and queue lengths of a server, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cascade_proto import synthesis_pb2 as pb

from cascade_client.values.date_times import from_microseconds
from cascade_client.values.provenance import OUTSIDE_KINDS, TIERS, OutsideKind, Tier


@dataclass(frozen=True)
class EngineStatistics:
    """One network of one release; counts are since the server's start.

    Attributes:
        table, version, tier: the network's identity.
        waiting, waiting_rows: real-time requests in its queue, and their rows.
        runs, rows: batches run (a pass of the teacher is one), and the rows in them.
        expired: requests whose deadline passed in the queue; never run.
        late_starts: requests that were run although their deadline had passed; 0 unless there is a
            defect.
        run_seconds: total time of the runs.
        queue_seconds: total time that requests were in the queue before their first run.
        last_run: when the last run ended, UTC; None: there was none.
    """

    table: str
    version: int
    tier: Tier
    waiting: int
    waiting_rows: int
    runs: int
    rows: int
    expired: int
    late_starts: int
    run_seconds: float
    queue_seconds: float
    last_run: datetime | None


@dataclass(frozen=True)
class PooledRelease:
    """Pool of rows made ahead of time for one release.

    Attributes:
        table, version: the release.
        hits, misses: requests answered from the pool, and those that found too few rows.
        rows, refilled_rows: current rows, and rows ever made.
    """

    table: str
    version: int
    hits: int
    misses: int
    rows: int
    refilled_rows: int


@dataclass(frozen=True)
class PoolStatistics:
    """Pool of rows that the teacher made ahead of time; counts are since the server's start.

    Attributes:
        releases: by table and version.
        conditions: number of conditions with rows.
        bytes: size of all rows.
        expired_rows, evicted_rows: dropped because of their age, and to make room.
    """

    releases: tuple[PooledRelease, ...]
    conditions: int
    bytes: int
    expired_rows: int
    evicted_rows: int


@dataclass(frozen=True)
class CacheStatistics:
    """Cache of answers to requests with a seed; counts are since the server's start.

    Attributes:
        hits, second_level_hits, joined, misses: requests whose answer was cached, was in the second
            level, was being drawn for another request, or had to be drawn.
        entries, bytes: current content.
        evicted: answers dropped to make room.
        second_level_failures: failures of the second level, by reason.
    """

    hits: int
    second_level_hits: int
    joined: int
    misses: int
    entries: int
    bytes: int
    evicted: int
    second_level_failures: Mapping[str, int]


@dataclass(frozen=True)
class WorkerStatistics:
    """One process that answers.

    Attributes:
        pid: its process id.
        inside, limit: current requests, and their limit.
        calls: real-time and offline calls that have ended.
    """

    pid: int
    inside: int
    limit: int
    calls: int


@dataclass(frozen=True)
class RemoteServerStatistics:
    """A server, such as a Triton, that runs the networks; counts are since Cascade's start.

    Attributes:
        target: host and port.
        up: whether it is in use.
        reason: why it is not.
        outstanding_batches, outstanding_rows: its current work.
        batches, rows: answered.
        failures: batches that failed there.
        failovers: batches that went to another server because they failed here.
        hedges: batches that were also sent to another server, because this one took too long.
        times_away: how often it has become unavailable.
    """

    target: str
    up: bool
    reason: str
    outstanding_batches: int
    outstanding_rows: int
    batches: int
    rows: int
    failures: int
    failovers: int
    hedges: int
    times_away: int


@dataclass(frozen=True)
class OutsideStatistics:
    """Number of values of a column that were outside the learnt range, by kind."""

    table: str
    column: str
    kind: OutsideKind
    values: int


@dataclass(frozen=True)
class ServerStatistics:
    """Statistics of a server: totals over all processes, except for `workers`.

    Attributes:
        engines: the networks.
        inside, limit: current requests, and their limit.
        refused: requests that were refused because the server was full.
        overtaken: requests sent to the teacher but answered by the student, because the teacher
            took longer than predicted.
        steps_down: by table, how many of the highest tiers are left out while an error budget burns
            too fast.
        pool, cache: None if there is none.
        workers: the processes that answer.
        servers: those that run the networks; empty: they run in this one.
        outside: values that were never learnt, in the answered rows.
    """

    engines: tuple[EngineStatistics, ...]
    inside: int
    limit: int
    refused: int
    overtaken: int
    steps_down: Mapping[str, int]
    pool: PoolStatistics | None
    cache: CacheStatistics | None
    workers: tuple[WorkerStatistics, ...]
    servers: tuple[RemoteServerStatistics, ...]
    outside: tuple[OutsideStatistics, ...]


def server_statistics(response: pb.GetStatisticsResponse) -> ServerStatistics:
    """Convert the answer of `Client.statistics` to values; times are in seconds."""
    return ServerStatistics(
        engines=tuple(_engine(each) for each in response.engines),
        inside=response.inside,
        limit=response.limit,
        refused=response.refused,
        overtaken=response.overtaken,
        steps_down=dict(sorted(response.steps_down.items())),
        pool=_pool(response.pool) if response.HasField("pool") else None,
        cache=_cache(response.cache) if response.HasField("cache") else None,
        workers=tuple(
            WorkerStatistics(each.pid, each.inside, each.limit, each.calls)
            for each in response.workers
        ),
        servers=tuple(_remote(each) for each in response.servers),
        outside=tuple(
            OutsideStatistics(
                each.table,
                each.column,
                OUTSIDE_KINDS.get(each.kind, OutsideKind.UNKNOWN),
                each.values,
            )
            for each in response.outside
        ),
    )


def _engine(message: pb.EngineStatistics) -> EngineStatistics:
    return EngineStatistics(
        table=message.table,
        version=message.version,
        tier=TIERS.get(message.tier, Tier.UNKNOWN),
        waiting=message.waiting,
        waiting_rows=message.waiting_rows,
        runs=message.runs,
        rows=message.rows,
        expired=message.expired,
        late_starts=message.late_starts,
        run_seconds=message.run_nanoseconds / 1e9,
        queue_seconds=message.queue_nanoseconds / 1e9,
        last_run=from_microseconds(message.last_run) if message.last_run else None,
    )


def _pool(message: pb.PoolStatistics) -> PoolStatistics:
    return PoolStatistics(
        releases=tuple(
            PooledRelease(
                each.table, each.version, each.hits, each.misses, each.rows, each.refilled_rows
            )
            for each in message.releases
        ),
        conditions=message.conditions,
        bytes=message.bytes,
        expired_rows=message.expired_rows,
        evicted_rows=message.evicted_rows,
    )


def _cache(message: pb.CacheStatistics) -> CacheStatistics:
    return CacheStatistics(
        hits=message.hits,
        second_level_hits=message.second_level_hits,
        joined=message.joined,
        misses=message.misses,
        entries=message.entries,
        bytes=message.bytes,
        evicted=message.evicted,
        second_level_failures=dict(sorted(message.second_level_failures.items())),
    )


def _remote(message: pb.RemoteServerStatistics) -> RemoteServerStatistics:
    return RemoteServerStatistics(
        target=message.target,
        up=message.up,
        reason=message.reason,
        outstanding_batches=message.outstanding_batches,
        outstanding_rows=message.outstanding_rows,
        batches=message.batches,
        rows=message.rows,
        failures=message.failures,
        failovers=message.failovers,
        hedges=message.hedges,
        times_away=message.times_away,
    )
