"""Work whose deadline has passed, or whose caller is gone, is not begun and not continued."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.request import check
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import DeadlinePassed
from cascade_server.wire.synthesis_request import SynthesisRequest
from cascade_tables import load_release

from tests.releases import TABLE
from tests.server.messages import ask
from tests.server.running import Running


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def runtime(repository: Path) -> Runtime:
    return Runtime(load_release(repository, TABLE, 1))


class TestWork:
    """A request's permission to go on."""

    @pytest.mark.parametrize(
        ("remaining", "timeout", "expected"),
        [
            (None, 0, math.inf),
            (0.5, 0, 1000.5),
            (None, 2_000, 1000.002),
            (0.5, 2_000, 1000.002),
            (0.001, 2_000, 1000.001),
        ],
    )
    def test_the_earlier_deadline_holds(
        self, remaining: float | None, timeout: int, expected: float
    ) -> None:
        assert Work.from_remaining(remaining, timeout, Clock()).deadline == pytest.approx(expected)

    def test_the_deadline_itself_is_too_late(self) -> None:
        clock = Clock()
        work = Work.from_remaining(1.0, clock=clock)
        clock.now += 0.999
        work.check()
        clock.now = work.deadline
        with pytest.raises(DeadlinePassed):
            work.check()


def test_a_request_that_comes_too_late_is_not_checked(runtime: Runtime) -> None:
    clock = Clock()
    work = Work.from_remaining(1.0, clock=clock)
    clock.now += 1
    with pytest.raises(DeadlinePassed):
        check(SynthesisRequest(rows=1), runtime, work, 100)


class TestOverGrpc:
    """Both kinds of deadline end a call with DEADLINE_EXCEEDED."""

    @pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL"])
    def test_the_requests_own_timeout(self, serving: Running, fidelity: Any) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            serving.stub.Synthesize(ask(fidelity=fidelity, timeout_microseconds=1))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "before the work was done" in error.details() or "refused" in error.details()

    def test_full_is_refused_before_it_is_late(self, serving: Running) -> None:
        """A thousand rows of six passes take more than a millisecond."""
        request = ask(draws=1000, fidelity="FIDELITY_FULL", timeout_microseconds=1000)
        with pytest.raises(grpc.RpcError) as caught:
            serving.stub.Synthesize(request)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    @pytest.mark.parametrize(
        "wanted",
        [
            {"fidelity": "FIDELITY_FULL"},
            {"fidelity": "FIDELITY_FAST", "log_likelihood": True},
            {"fidelity": "FIDELITY_AUTO", "log_likelihood": True},
            {"fidelity": "FIDELITY_FULL", "offline": True},
        ],
    )
    def test_a_teacher_that_stands_still_holds_nobody_beyond_his_own(
        self, serving: Running, wanted: Any
    ) -> None:
        """There is no deadline of gRPC's that would end the call."""
        service = serving.server.service
        teacher: Any = service.dispatcher.engines[service.repository.find(TABLE)].teacher
        go_on = threading.Event()
        teacher._executor.submit(go_on.wait)
        try:
            call = serving.stub.Synthesize.future(ask(timeout_microseconds=400_000, **wanted))
            code = call.exception(timeout=60).code()
        finally:
            go_on.set()
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_a_long_deadline_is_no_hindrance(self, serving: Running) -> None:
        answer = serving.stub.Synthesize(ask(timeout_microseconds=2**63), timeout=30)
        assert answer.provenance.tier == pb.TIER_TEACHER
