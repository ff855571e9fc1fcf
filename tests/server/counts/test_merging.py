"""Statistics of several processes as those of one server."""

from __future__ import annotations

from cascade_proto import synthesis_pb2 as pb
from cascade_server.counts.merging import counted, merged

STUDENT, TEACHER = pb.TIER_STUDENT, pb.TIER_TEACHER


def worker(pid: int, runs: int, inside: int = 0, down: int = 0) -> pb.GetStatisticsResponse:
    """One process that has done something of everything."""
    out = pb.GetStatisticsResponse(inside=inside, limit=64, refused=runs)
    out.engines.add(table="t", version=1, tier=STUDENT, runs=runs, rows=3 * runs, waiting=inside)
    out.engines.add(table="t", version=1, tier=TEACHER, runs=7, rows=9, waiting=2)
    out.pool.releases.add(table="t", version=1, hits=runs, misses=1, refilled_rows=4, rows=2)
    out.pool.bytes, out.pool.expired_rows = 100, runs
    out.cache.hits, out.cache.entries = runs, 5
    out.cache.second_level_failures["timeout"] = runs
    out.steps_down["t"] = down
    out.workers.add(pid=pid, inside=inside, limit=64, calls=runs)
    return out


def test_two_processes_add_up() -> None:
    found = merged([worker(1, 10, inside=3), worker(2, 20, inside=1, down=1)])
    assert (found.inside, found.limit, found.refused) == (4, 128, 30)
    student, teacher = found.engines
    assert (student.tier, student.runs, student.rows, student.waiting) == (STUDENT, 30, 90, 4)
    assert (found.pool.bytes, found.pool.expired_rows) == (200, 30)
    (pooled,) = found.pool.releases
    assert (pooled.hits, pooled.misses, pooled.refilled_rows, pooled.rows) == (30, 2, 8, 4)
    assert (found.cache.hits, found.cache.entries) == (30, 10)
    assert dict(found.cache.second_level_failures) == {"timeout": 30}
    assert dict(found.steps_down) == {"t": 1}
    assert [each.pid for each in found.workers] == [1, 2]
    # Both told of the same teacher.
    assert (teacher.tier, teacher.runs, teacher.rows, teacher.waiting) == (TEACHER, 7, 9, 2)


def test_of_a_process_that_has_ended_only_what_it_counted_is_left() -> None:
    found = merged([worker(2, 1), counted(worker(1, 10, inside=3, down=1))])
    assert (found.inside, found.limit, found.refused) == (0, 64, 11)
    student = found.engines[0]
    assert (student.runs, student.rows, student.waiting) == (11, 33, 0)
    assert (found.pool.bytes, found.pool.expired_rows) == (100, 11)
    assert (found.pool.releases[0].hits, found.pool.releases[0].rows) == (11, 2)
    assert (found.cache.hits, found.cache.entries) == (11, 5)
    assert dict(found.steps_down) == {"t": 0}
    assert [each.pid for each in found.workers] == [2]


def test_what_there_is_not_stays_away() -> None:
    found = merged([pb.GetStatisticsResponse(limit=1), pb.GetStatisticsResponse(limit=2)])
    assert found == pb.GetStatisticsResponse(limit=3)
    assert not found.HasField("pool")
    assert not found.HasField("cache")


def front_end(pid: int, runs: int, up: bool) -> pb.GetStatisticsResponse:
    """A worker whose networks run on another server."""
    out = worker(pid, runs)
    out.servers.add(target="gpu-1:8001", up=up, batches=runs, outstanding_batches=1)
    return out


def test_engines_on_other_servers_are_each_workers_own() -> None:
    found = merged([front_end(1, 10, True), front_end(2, 20, False)])
    assert [engine.runs for engine in found.engines] == [30, 14]
    (server,) = found.servers
    assert (server.batches, server.outstanding_batches, server.up) == (30, 2, True)
    found = merged([front_end(2, 20, False), counted(front_end(1, 10, True))])
    assert [engine.runs for engine in found.engines] == [30, 14]
    (server,) = found.servers
    assert (server.batches, server.outstanding_batches, server.up) == (30, 1, False)
