"""AUTO does not wait for a teacher that takes longer than was predicted."""

from __future__ import annotations

import asyncio
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
from cascade_server.engines import watched_teacher
from cascade_server.engines.watched_teacher import MOST_FAILURES
from cascade_server.errors import NotReady, TeacherFailed
from cascade_server.terms import Tier, Wanted

from tests.releases import TABLE
from tests.server.cascade.stalled import PROMISED, SOON, Cascade
from tests.server.messages import ask, row
from tests.server.running import DRAWN_ANEW, Running, running

TEACHER, STUDENT = Option(Tier.TEACHER, 9, 10e-3), Option(Tier.STUDENT, 1, 1e-3)


class TestPatience:
    """How long it is waited for."""

    def test_auto_leaves_time_for_the_student(self) -> None:
        route = choose((TEACHER, STUDENT), 0.1, Wanted.AUTO)
        assert patience(route, 0.0) == pytest.approx(0.1 * (1 - MARGIN) - 1e-3)

    def test_what_is_promised_counts_too(self) -> None:
        route = choose((TEACHER, STUDENT), 10.0, Wanted.AUTO, promised=0.05)
        assert patience(route, 0.0) == pytest.approx(0.05 * (1 - MARGIN) - 1e-3)

    @pytest.mark.parametrize(("later", "expected"), [(0.05, 0.029), (0.2, 0.0)])
    def test_what_has_gone_by_since_it_was_routed_is_gone(
        self, later: float, expected: float
    ) -> None:
        route = choose((TEACHER, STUDENT), 0.1, Wanted.AUTO, now=1000.0)
        assert patience(route, 1000.0 + later) == pytest.approx(expected)

    @pytest.mark.parametrize("wanted", [Wanted.AUTO, Wanted.FULL])
    def test_without_a_deadline_and_for_full_there_is_no_end_to_it(self, wanted: Wanted) -> None:
        assert math.isinf(patience(choose((TEACHER, STUDENT), math.inf, wanted), 0.0))
        assert math.isinf(patience(choose((TEACHER, STUDENT), 0.1, Wanted.FULL), 0.0))


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


@pytest.fixture
def stalled(repository: Path) -> Iterator[Cascade]:
    found = Cascade(repository)
    yield found
    found.dispatcher.close()


async def test_what_scoring_took_is_no_longer_there_to_wait_in(stalled: Cascade) -> None:
    def scoring() -> None:
        stalled.now += PROMISED

    stalled.teacher.scoring = scoring
    async with asyncio.timeout(SOON):
        answer = await stalled.ask(Wanted.AUTO, log_likelihood=True, explain=True)
    assert answer.tier is Tier.STUDENT
    assert list(answer.log_likelihood) == [0.0]
    assert answer.route is not None
    assert "took longer than was predicted" in answer.route.reason
    assert stalled.teacher.asked == 0


async def test_nothing_that_goes_wrong_makes_the_student_s_rows_the_teacher_s(
    stalled: Cascade,
) -> None:
    """A TimeoutError that is not of the wait for it, say of a socket's."""
    stalled.teacher.fails = TimeoutError("of a socket")
    stalled.teacher.may_draw.set()
    with pytest.raises(TeacherFailed):
        await stalled.ask(Wanted.FULL)


async def test_what_was_waited_in_vain_says_nothing_of_the_student(stalled: Cascade) -> None:
    """By how long answers of his take it is learnt how many may be inside."""
    before = stalled.dispatcher.gate.limit
    async with asyncio.timeout(SOON):
        assert (await stalled.ask(Wanted.AUTO)).tier is Tier.STUDENT
    assert stalled.dispatcher.gate.limit == before


async def test_auto_is_the_student_where_the_teacher_fails(
    stalled: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, but out of memory, say; after some times in a row it is not asked any more."""
    monkeypatch.setattr(watched_teacher, "REST_SECONDS", math.inf)
    stalled.teacher.fails = MemoryError("of the GPU")
    stalled.teacher.may_draw.set()
    for _ in range(MOST_FAILURES):
        answer = await stalled.ask(Wanted.AUTO, explain=True)
        assert answer.tier is Tier.STUDENT
        assert answer.route is not None
        assert "in 6 passes failed" in answer.route.reason
    asked = stalled.teacher.asked
    answer = await stalled.ask(Wanted.AUTO, explain=True)
    assert answer.tier is Tier.STUDENT
    assert answer.route is not None
    assert "is not ready" in answer.route.reason
    with pytest.raises(NotReady, match=r"has failed 3 times in a row .* of the GPU"):
        await stalled.ask(Wanted.FULL)
    assert stalled.teacher.asked == asked
    assert stalled.dispatcher.overtaken == 0


async def test_full_is_told_what_the_teacher_failed_with(stalled: Cascade) -> None:
    stalled.teacher.fails = MemoryError("of the GPU")
    stalled.teacher.may_draw.set()
    with pytest.raises(TeacherFailed, match="the teacher failed: MemoryError: of the GPU"):
        await stalled.ask(Wanted.FULL)
