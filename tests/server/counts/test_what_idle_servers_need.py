"""What an idle server needs is what it needs at least: not what it takes for who can wait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.counts.calls import Call
from cascade_server.counts.shared.idle_times import ENOUGH
from cascade_server.counts.sla import Sla
from cascade_server.errors import NotReady
from cascade_server.objectives.burn import Alert, Events
from cascade_server.terms import ServiceClass, Tier

from tests.releases import TABLE
from tests.server.messages import ask, row
from tests.server.running import DRAWN_ANEW, Running, running

OK, FULL_UP = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
REALTIME = ServiceClass.REALTIME
STUDENTS = (TABLE, REALTIME, Tier.STUDENT)


def needed(server: Running) -> float:
    return server.server.sla.needed(STUDENTS, 1)


def test_an_overload_after_a_calm_in_which_the_teacher_answered(repository: Path) -> None:
    """Calls without a deadline take the teacher 12 ms each; then 100 at once have 10 ms, in which
    an idle server's student would answer any of them, and are refused: that spends the budget."""
    sla, now = Sla(ServerConfig(repository=repository)), 1000.0

    def call(given: float = math.inf) -> Call:
        made = Call(sla, sla.tables, REALTIME, lambda: now, now)
        made.asks(TABLE, REALTIME, now + given, 1)
        return made

    for _ in range(2 * ENOUGH):
        alone = call()
        now += 0.012
        alone.sends(Tier.TEACHER, 1)
        alone.ends(OK)
    for each in [call(0.01) for _ in range(100)]:
        each.ends(FULL_UP)
    (found,) = (
        each
        for each in sla.ledger.report().statuses
        if each.objective.name == f"{TABLE}-realtime-availability"
    )
    assert found.events == Events(2 * ENOUGH, 2 * ENOUGH + 100)
    assert found.alert is Alert.PAGE


def test_answers_of_the_cache_are_no_draws(repository: Path) -> None:
    with running(ServerConfig(repository=repository, port=0, pool_bytes=0)) as server:
        again = ask(row(items=3), seed=7, fidelity=pb.FIDELITY_FAST)
        cached = [server.stub.Synthesize(again).provenance.cached for _ in range(2 * ENOUGH)]
        assert cached == [False] + [True] * (2 * ENOUGH - 1)
        assert needed(server) == 0.0
        # A call's end may be behind its answer, and the next call then beside it: not all count.
        seeds = iter(range(100, 10_000))
        while not needed(server):
            fast = ask(row(items=3), seed=next(seeds), fidelity=pb.FIDELITY_FAST)
            server.stub.Synthesize(fast)


def test_a_student_that_had_to_wait_for_the_teacher_first(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a teacher that is gone, or does not come: the wait is not the student's."""
    with running(ServerConfig(repository=repository, port=0, **DRAWN_ANEW)) as server:
        service = server.server.service

        async def dies(*_: Any) -> Any:
            raise NotReady("the teacher's process is away")

        teacher = service.dispatcher.engines[service.repository.find(TABLE)].teacher
        monkeypatch.setattr(teacher, "draw", dies)
        for _ in range(2 * ENOUGH):
            assert server.stub.Synthesize(ask()).provenance.tier == pb.TIER_STUDENT
        assert needed(server) == 0.0
