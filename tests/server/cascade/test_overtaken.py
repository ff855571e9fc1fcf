"""AUTO does not wait for a teacher that takes longer than was predicted."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.router import MARGIN, Option, choose, patience
from cascade_server.config import ServerConfig
from cascade_server.errors import NotReady
from cascade_server.terms import Tier, Wanted

from tests.releases import TABLE
from tests.server.messages import ask, row
from tests.server.running import DRAWN_ANEW, Running, running

TEACHER, STUDENT = Option(Tier.TEACHER, 9, 10e-3), Option(Tier.STUDENT, 1, 1e-3)


class TestPatience:
    """How long it is waited for."""

    def test_auto_leaves_time_for_the_student(self) -> None:
        route = choose((TEACHER, STUDENT), 0.1, Wanted.AUTO)
        assert patience(route) == pytest.approx(0.1 * (1 - MARGIN) - 1e-3)

    def test_what_is_promised_counts_too(self) -> None:
        route = choose((TEACHER, STUDENT), 10.0, Wanted.AUTO, promised=0.05)
        assert patience(route) == pytest.approx(0.05 * (1 - MARGIN) - 1e-3)

    @pytest.mark.parametrize("wanted", [Wanted.AUTO, Wanted.FULL])
    def test_without_a_deadline_and_for_full_there_is_no_end_to_it(self, wanted: Wanted) -> None:
        assert math.isinf(patience(choose((TEACHER, STUDENT), math.inf, wanted)))
        assert math.isinf(patience(choose((TEACHER, STUDENT), 0.1, Wanted.FULL)))


@pytest.fixture
def alone(repository: Path) -> Iterator[Running]:
    with running(ServerConfig(repository=repository, port=0, **DRAWN_ANEW)) as server:
        yield server


def teacher(server: Running) -> Any:
    dispatcher = server.server.service.dispatcher
    return dispatcher.engines[server.server.service.repository.find(TABLE)].teacher


def test_the_student_answers_in_time_with_its_own_rows(alone: Running) -> None:
    """Of a teacher whose thread is held, which no prediction knows of."""
    held = threading.Event()
    teacher(alone)._executor.submit(held.wait)
    try:
        request = ask(row(items=3), seed=7, timeout_microseconds=400_000, explain=True)
        answer = alone.stub.Synthesize(request, timeout=60)
    finally:
        held.set()
    assert answer.provenance.tier == pb.TIER_STUDENT
    assert "took longer than was predicted" in answer.provenance.routing.reason
    fast = alone.stub.Synthesize(ask(row(items=3), seed=7, fidelity=pb.FIDELITY_FAST))
    assert answer.rows == fast.rows
    statistics = alone.stub.GetStatistics(pb.GetStatisticsRequest())
    assert statistics.overtaken == 1
    assert alone.stub.Synthesize(ask()).provenance.tier == pb.TIER_TEACHER


def test_the_student_s_rows_are_not_kept_as_the_teacher_s(repository: Path) -> None:
    """Of a seed, which the cache knows by who drew."""
    config = ServerConfig(repository=repository, port=0, pool_bytes=0, cache_bytes=2**20)
    with running(config) as server:
        held = threading.Event()
        teacher(server)._executor.submit(held.wait)
        try:
            request = ask(row(items=3), seed=7, timeout_microseconds=400_000)
            auto = server.stub.Synthesize(request, timeout=60)
        finally:
            held.set()
        full = server.stub.Synthesize(ask(row(items=3), seed=7, fidelity=pb.FIDELITY_FULL))
        fast = server.stub.Synthesize(ask(row(items=3), seed=7, fidelity=pb.FIDELITY_FAST))
    assert auto.provenance.tier == pb.TIER_STUDENT
    assert full.provenance.tier == pb.TIER_TEACHER
    assert not full.provenance.cached
    assert fast.provenance.cached
    assert fast.rows == auto.rows


def test_auto_is_the_student_where_the_teacher_dies_with_the_request(
    alone: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than UNAVAILABLE, which is for who wants nobody else."""

    async def dies(*_: Any) -> Any:
        raise NotReady("the teacher's process is away")

    monkeypatch.setattr(teacher(alone), "draw", dies)
    answer = alone.stub.Synthesize(ask(row(items=3), seed=7, explain=True), timeout=60)
    assert answer.provenance.tier == pb.TIER_STUDENT
    assert "was gone before it had answered" in answer.provenance.routing.reason
    fast = alone.stub.Synthesize(ask(row(items=3), seed=7, fidelity=pb.FIDELITY_FAST))
    assert answer.rows == fast.rows
    assert alone.stub.GetStatistics(pb.GetStatisticsRequest()).overtaken == 0
    with pytest.raises(grpc.RpcError) as caught:
        alone.stub.Synthesize(ask(fidelity=pb.FIDELITY_FULL), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
