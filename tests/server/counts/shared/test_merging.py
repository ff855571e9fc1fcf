"""Statistics of several processes as those of one server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.counts.shared.merging import counted, fields_of, merged
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

STUDENT, TEACHER = pb.TIER_STUDENT, pb.TIER_TEACHER


def worker(pid: int, runs: int, inside: int = 0, down: int = 0) -> pb.GetStatisticsResponse:
    """One process that has done something of everything."""
    out = pb.GetStatisticsResponse(inside=inside, limit=64, refused=runs)
    out.engines.add(table="t", version=1, tier=STUDENT, runs=runs, rows=3 * runs, waiting=inside)
    out.engines.add(table="t", version=1, tier=TEACHER, runs=7, rows=9, waiting=2, shared=True)
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
    # The teacher is the one that the other describes.
    assert [(each.tier, each.runs) for each in found.engines] == [(STUDENT, 11), (TEACHER, 7)]
    assert [each.tier for each in counted(worker(1, 10)).engines] == [STUDENT]


def test_of_what_is_shared_the_latest_description_is_taken() -> None:
    early, late = worker(1, 1), worker(2, 1)
    early.engines[1].waiting = 5
    late.engines[1].runs, late.engines[1].waiting = 8, 0
    for parts in ([early, late], [late, early]):
        teacher = merged(parts).engines[1]
        assert (teacher.runs, teacher.waiting) == (8, 0)


def compiled(folder: Path, name: str) -> Any:
    """A file's descriptor, in a pool of its own."""
    out = folder / "descriptors"
    assert protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={out}", name]) == 0
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)  # type: ignore[no-untyped-call]
    return pool.FindFileByName(name)


def messages(descriptor: Descriptor) -> Iterator[Descriptor]:
    """A type of message and all that are in it, but for entries of maps."""
    yield descriptor
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry:
            yield from messages(inner)


class TestDeclarations:
    """A new field is merged by being declared, and cannot be forgotten."""

    def test_every_field_says_how_it_merges(self) -> None:
        """Also what is not: a list's entries and messages follow from what is in them."""
        for message in messages(pb.GetStatisticsResponse.DESCRIPTOR):
            for field in message.fields:
                inner = field.message_type
                is_message = inner is not None and not inner.GetOptions().map_entry
                how = field.GetOptions().Extensions[pb.merge]
                assert (how == pb.MERGE_UNSPECIFIED) == is_message, field.full_name

    @pytest.mark.parametrize(
        ("field", "wrong"),
        [
            ("uint64 forgotten = 1;", "made_up.Message.forgotten does not say how"),
            ("map<string, uint64> forgotten = 1;", "made_up.Message.forgotten does not say how"),
            ("repeated uint64 several = 1;", "made_up.Message.several does not say how"),
            ("repeated Empty several = 1;", "Empty has no key"),
            ("Inner one = 1;", "made_up.Inner.forgotten does not say how"),
        ],
    )
    def test_one_that_does_not_is_an_error(self, field: str, wrong: str, tmp_path: Path) -> None:
        (tmp_path / "made_up.proto").write_text(
            'syntax = "proto3"; package made_up;\n'
            "message Empty {} message Inner { uint64 forgotten = 1; }\n"
            f"message Message {{ {field} }}\n"
        )
        with pytest.raises(TypeError, match=wrong):
            fields_of(compiled(tmp_path, "made_up.proto").message_types_by_name["Message"])

    @given(st.integers(0, 2**32), st.integers(0, 2**32))
    def test_every_number_is_merged_as_it_says(self, one: int, other: int) -> None:
        """Whatever fields there are: each value of two processes, and what remains of one."""
        both = {
            pb.MERGE_SUM: (one + other, one),
            pb.MERGE_MAX: (max(one, other), one),
            pb.MERGE_HELD_SUM: (one + other, 0),
            pb.MERGE_HELD_MAX: (max(one, other), 0),
        }
        for number, field in enumerate(pb.GetStatisticsResponse.DESCRIPTOR.fields):
            if field.message_type is None:
                parts = [pb.GetStatisticsResponse(**{field.name: each}) for each in (one, other)]
                together, left = both[field.GetOptions().Extensions[pb.merge]]
                assert getattr(merged(parts), field.name) == together, number
                assert getattr(counted(parts[0]), field.name) == left, number


def test_what_there_is_not_stays_away() -> None:
    found = merged([pb.GetStatisticsResponse(limit=1), pb.GetStatisticsResponse(limit=2)])
    assert found == pb.GetStatisticsResponse(limit=3)
    assert not found.HasField("pool")
    assert not found.HasField("cache")


def front_end(pid: int, runs: int, up: bool) -> pb.GetStatisticsResponse:
    """A worker whose networks run on another server."""
    out = worker(pid, runs)
    for engine in out.engines:
        engine.shared = False
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
