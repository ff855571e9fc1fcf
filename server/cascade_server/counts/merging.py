"""The statistics of several processes as those of one server; pure."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_proto import synthesis_pb2 as pb
from google.protobuf.message import Message

# Of an engine.
SUMMED = (
    *("waiting", "waiting_rows", "runs", "rows", "expired", "late_starts"),
    *("run_nanoseconds", "queue_nanoseconds"),
)

OF_SERVERS = (
    *("outstanding_batches", "outstanding_rows", "batches", "rows", "failures"),
    *("failovers", "hedges", "times_away"),
)


def merged(parts: Sequence[pb.GetStatisticsResponse]) -> pb.GetStatisticsResponse:
    """One answer for all.

    Everything is added up but for two: the teacher's engines, which all processes share and each
    describes alike unless other servers run them, and the steps down, which each takes from the
    same budgets.
    """
    out = pb.GetStatisticsResponse()
    engines: dict[tuple[str, int, int], pb.EngineStatistics] = {}
    for part in parts:
        for engine in part.engines:
            key = (engine.table, engine.version, engine.tier)
            have = engines.get(key)
            if have is None:
                have = engines[key] = out.engines.add()
                have.CopyFrom(engine)
            elif engine.tier == pb.TIER_STUDENT or part.servers:
                for name in SUMMED:
                    _add(have, engine, name)
                have.last_run = max(have.last_run, engine.last_run)
            elif engine.runs > have.runs:
                have.CopyFrom(engine)
        for name in ("inside", "limit", "refused", "overtaken"):
            _add(out, part, name)
        for table, steps in part.steps_down.items():
            out.steps_down[table] = max(out.steps_down[table], steps)
        out.workers.extend(part.workers)
        _merge_servers(out, part)
        if part.HasField("pool"):
            _merge_pool(out.pool, part.pool)
        if part.HasField("cache"):
            for name in (
                *("hits", "second_level_hits", "joined", "misses", "entries", "bytes", "evicted"),
            ):
                _add(out.cache, part.cache, name)
            for reason, count in part.cache.second_level_failures.items():
                out.cache.second_level_failures[reason] += count
    return out


def counted(part: pb.GetStatisticsResponse) -> pb.GetStatisticsResponse:
    """What remains of a process that has ended: what it counted, not what it held."""
    out = pb.GetStatisticsResponse()
    out.CopyFrom(part)
    del out.engines[:]
    for engine in part.engines:
        if engine.tier == pb.TIER_STUDENT or part.servers:
            kept = out.engines.add()
            kept.CopyFrom(engine)
            _clear(kept, "waiting", "waiting_rows")
    _clear(out, "inside", "limit", "workers", "steps_down")
    for server in out.servers:
        _clear(server, "up", "reason", "outstanding_batches", "outstanding_rows")
    if out.HasField("pool"):
        _clear(out.pool, "conditions", "bytes")
        for release in out.pool.releases:
            _clear(release, "rows")
    if out.HasField("cache"):
        _clear(out.cache, "entries", "bytes")
    return out


def _merge_servers(out: pb.GetStatisticsResponse, part: pb.GetStatisticsResponse) -> None:
    have = {each.target: each for each in out.servers}
    for server in part.servers:
        found = have.get(server.target)
        if found is None:
            out.servers.add().CopyFrom(server)
            continue
        for name in OF_SERVERS:
            _add(found, server, name)
        found.up = found.up or server.up
        found.reason = found.reason or server.reason


def _merge_pool(out: pb.PoolStatistics, part: pb.PoolStatistics) -> None:
    out.SetInParent()
    for name in ("conditions", "bytes", "expired_rows", "evicted_rows"):
        _add(out, part, name)
    have = {(each.table, each.version): each for each in out.releases}
    for release in part.releases:
        found = have.get((release.table, release.version))
        if found is None:
            out.releases.add().CopyFrom(release)
        else:
            for name in ("hits", "misses", "refilled_rows", "rows"):
                _add(found, release, name)


def _add(out: Message, part: Message, name: str) -> None:
    setattr(out, name, getattr(out, name) + getattr(part, name))


def _clear(message: Message, *names: str) -> None:
    for name in names:
        message.ClearField(name)
