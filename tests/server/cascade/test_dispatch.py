"""Admission, routing and batching, over gRPC."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.admission import Limit, LimitConfig
from cascade_server.cascade.answer import Answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.gate import Gate
from cascade_server.cascade.release_engines import ReleaseEngines, in_groups
from cascade_server.cascade.request import check
from cascade_server.config import ServerConfig
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import TooMuch
from cascade_server.terms import Priority, Tier, Wanted
from cascade_server.wire.synthesis_request import SynthesisRequest

from tests.releases import TABLE, make_release
from tests.server.messages import COLUMNS, ask, read, row
from tests.server.running import DRAWN_ANEW, Running, running


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Running]:
    """A server of its own, whose insides a test may change; nobody else asks its teacher."""
    make_release(tmp_path)
    with running(ServerConfig(repository=tmp_path, port=0, **DRAWN_ANEW)) as server:
        yield server


def dispatcher(server: Running) -> Dispatcher:
    return server.server.service.dispatcher


def engines(server: Running) -> ReleaseEngines:
    (found,) = dispatcher(server).engines.values()
    return found


async def until(holds: Callable[[], bool]) -> None:
    """Wait in the server's event loop."""
    while not holds():
        await asyncio.sleep(0)


def failure(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


class TestRouting:
    """AUTO takes the highest fidelity that is predicted to be in time."""

    @pytest.fixture
    def alone(self, tmp_path: Path) -> Iterator[Running]:
        """Without a pool, which asks the teacher by itself and learns how fast it really is."""
        make_release(tmp_path)
        config = ServerConfig(repository=tmp_path, port=0, pool_bytes=0)
        with running(config) as server:
            yield server

    @pytest.fixture(autouse=True)
    def slow_teacher(self, alone: Running) -> None:
        """As far as its predictions go: a minute a pass."""
        for _ in range(5000):
            engines(alone).teacher.engine.model.observe(1, 60.0)

    def test_a_teacher_that_would_be_late_leaves_it_to_the_student(self, alone: Running) -> None:
        request = ask(timeout_microseconds=30_000_000, explain=True)
        provenance = alone.stub.Synthesize(request).provenance
        assert provenance.tier == pb.TIER_STUDENT
        considered = [(each.tier, each.steps) for each in provenance.routing.considered]
        assert considered == [
            (pb.TIER_TEACHER, len(COLUMNS)),
            (pb.TIER_STUDENT, 1),
        ]
        assert provenance.routing.considered[0].predicted > 60_000_000
        assert "teacher in 6 passes would take" in provenance.routing.reason

    def test_full_is_refused_at_once_and_says_why(self, alone: Running) -> None:
        request = ask(fidelity="FIDELITY_FULL", timeout_microseconds=30_000_000)
        error = failure(lambda: alone.stub.Synthesize(request))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "refused before it was late" in error.details()
        assert "teacher in 6 passes is predicted to take" in error.details()

    def test_without_being_asked_an_answer_does_not_explain(self, alone: Running) -> None:
        request = ask(timeout_microseconds=30_000_000)
        assert not alone.stub.Synthesize(request).provenance.HasField("routing")


class TestBatching:
    """Who shares a batch changes nothing but the time it takes."""

    @pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL"])
    def test_a_crowd_gets_what_each_would_get_alone(self, alone: Running, fidelity: Any) -> None:
        requests = [
            ask(row(items=1 + i % 8), draws=3, seed=i, fidelity=fidelity) for i in range(64)
        ]
        expected = [read(alone.stub.Synthesize(request).rows) for request in requests]
        with ThreadPoolExecutor(16) as crowd:
            found = list(crowd.map(lambda r: read(alone.stub.Synthesize(r).rows), requests))
        # A sum of another order may move a draw that is on the edge: one in a thousand rows.
        assert sum(a != b for a, b in zip(expected, found, strict=True)) <= 1
        for engine in (engines(alone).student, engines(alone).teacher):
            assert engine.statistics().late_starts == 0

    def test_the_teacher_runs_a_crowd_in_fewer_passes(
        self, alone: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Eight requests of six passes each, all there before the second pass."""
        go_on = threading.Event()
        denoise = Runtime.denoise

        def held(self: Runtime, *args: Any) -> Any:
            assert go_on.wait(30)
            return denoise(self, *args)

        monkeypatch.setattr(Runtime, "denoise", held)
        calls = [
            alone.stub.Synthesize.future(ask(fidelity="FIDELITY_FULL", seed=i)) for i in range(8)
        ]
        # Their rows are all in the queue, or in the pass that is held.
        while sum(dispatcher(alone).gate.inside.values()) < 8:
            alone.stub.ListTables(pb.ListTablesRequest())
        go_on.set()
        assert [call.result().provenance.steps for call in calls] == [len(COLUMNS)] * 8
        assert engines(alone).teacher.statistics().runs <= len(COLUMNS) + 1


class TestAdmission:
    """A full server refuses at once, and says when to come back."""

    def test_the_gate_counts_who_is_inside(self) -> None:
        gate = Gate(LimitConfig(initial=2, least=1))
        gate.enter(Priority.REALTIME)
        gate.enter(Priority.OFFLINE)
        assert gate.inside == {Priority.REALTIME: 1, Priority.OFFLINE: 1}
        with pytest.raises(TooMuch, match="2 requests are inside, and the server takes 2"):
            gate.enter(Priority.OFFLINE)
        gate.leave(Priority.OFFLINE)
        gate.enter(Priority.REALTIME)
        assert gate.inside == {Priority.REALTIME: 2, Priority.OFFLINE: 0}
        assert gate.refused == 1

    def test_the_gate_learns_from_what_it_is_told(self) -> None:
        gate = Gate(LimitConfig(initial=8, least=4))
        for seconds in (0.001,) * 20 + (None,):
            for _ in range(8):
                gate.enter(Priority.REALTIME)
            for _ in range(8):
                gate.leave(Priority.REALTIME, seconds)
        assert gate.limit.value > 8
        assert gate.limit.usual == pytest.approx(0.001)

    @pytest.mark.parametrize(
        ("waiting", "remaining", "expected"),
        [(11, math.inf, True), (12, math.inf, False), (7, 10e-3, True), (8, 10e-3, False)],
    )
    def test_nobody_waits_for_longer_than_there_is_time(
        self, waiting: int, remaining: float, expected: bool
    ) -> None:
        """A quarter of what is promised, or four fifths of what is left."""
        gate = Gate(LimitConfig(promised=50e-3))
        assert (
            gate.objection(60, remaining=1e-3) is None
        )  # it has not yet seen how fast calls are answered
        gate.turn_ended(1e-3, 1)
        assert (gate.objection(waiting, remaining) is None) == expected

    @pytest.mark.parametrize(("queued", "expected"), [(0.0, True), (4e-3, True), (6e-3, False)])
    def test_what_waits_for_the_engines_is_waited_for_too(
        self, queued: float, expected: bool
    ) -> None:
        gate = Gate(LimitConfig(promised=50e-3), queued=lambda: queued)
        gate.turn_ended(1e-3, 1)
        assert (gate.objection(7, math.inf) is None) == expected

    @pytest.mark.parametrize(
        ("waiting", "crowd", "remaining", "before", "expected"),
        [
            (100, 3, math.inf, 0, True),  # beside who floods
            (100, 12, math.inf, 0, True),
            (100, 13, math.inf, 0, False),  # as many of all would be too many
            (100, 65, math.inf, 0, False),
            (100, 3, 0.1, 70, True),  # its turn comes in time
            (100, 3, 0.1, 90, False),
            (100, math.inf, math.inf, 0, False),
        ],
    )
    def test_who_asks_for_little_is_let_in_beside_who_floods(
        self, waiting: int, crowd: float, remaining: float, before: int, expected: bool
    ) -> None:
        gate = Gate(LimitConfig(promised=50e-3))
        gate.turn_ended(1e-3, 1)
        why = gate.objection(waiting, remaining, before=lambda: before, crowd=crowd)
        assert (why is None) == expected

    def test_a_queue_in_front_of_the_engines_is_no_bad_memory(self) -> None:
        """Nobody is at the door, and yet there is something to wait for."""
        gate = Gate(LimitConfig(promised=50e-3), queued=lambda: 20e-3)
        assert gate.objection(0, math.inf) is not None

    def test_nobody_waits_inside_for_longer_than_at_the_door(self) -> None:
        gate = Gate(LimitConfig(promised=50e-3))
        gate.admit_to_queue(12e-3, math.inf)
        gate.admit_to_queue(0.0, 1e-9)
        with pytest.raises(TooMuch, match="more calls wait"):
            gate.admit_to_queue(13e-3, math.inf)
        with pytest.raises(TooMuch):
            gate.admit_to_queue(9e-3, 10e-3)

    def test_how_fast_calls_are_answered_is_an_average(self) -> None:
        gate = Gate()
        for seconds in (1e-3, 2e-3):
            gate.turn_ended(seconds, 1)
        assert gate.seconds_a_call == pytest.approx(1.1e-3)

    def test_a_turn_that_left_nobody_waiting_only_shows_that_it_can_be_faster(self) -> None:
        gate = Gate()
        gate.turn_ended(1e-3, 0)
        assert gate.seconds_a_call == 0
        gate.turn_ended(1e-3, 1)
        gate.turn_ended(2e-3, 0)
        assert gate.seconds_a_call == 1e-3
        gate.turn_ended(0.5e-3, 0)
        assert gate.seconds_a_call == pytest.approx(0.95e-3)

    def test_a_bad_moment_is_forgotten(self) -> None:
        """Of a machine that stood still for a minute, say."""
        gate = Gate(LimitConfig(promised=50e-3))
        gate.turn_ended(60.0, 1)
        assert gate.objection(1, math.inf) is not None
        for _ in range(120):
            assert gate.objection(0, math.inf) is None
            gate.turn_ended(0.5e-3, 0)
        assert gate.objection(10, math.inf) is None

    @pytest.fixture
    def teacher_held(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[threading.Event, threading.Event]]:
        """Set once the teacher has begun; to be set for it to go on."""
        go_on, inside = threading.Event(), threading.Event()
        denoise = Runtime.denoise

        def held(self: Runtime, *args: Any) -> Any:
            inside.set()
            assert go_on.wait(30)
            return denoise(self, *args)

        monkeypatch.setattr(Runtime, "denoise", held)
        yield inside, go_on
        go_on.set()

    def test_who_waits_for_the_teacher_leaves_room_for_the_student(
        self, alone: Running, teacher_held: tuple[threading.Event, threading.Event]
    ) -> None:
        inside, go_on = teacher_held
        dispatcher(alone).gate.limit = Limit(4.0, usual=0.025)
        waiting = [alone.stub.Synthesize.future(ask(fidelity="FIDELITY_FULL")) for _ in range(2)]
        assert inside.wait(30)
        alone.run(until(lambda: dispatcher(alone).gate.at_teacher == 2))
        found = [alone.stub.Synthesize(ask(explain=True)).provenance for _ in range(8)]
        assert {each.tier for each in found} == {pb.TIER_STUDENT}
        assert "too much to do for more to wait for the teacher" in found[0].routing.reason
        go_on.set()
        assert {call.result().provenance.tier for call in waiting} == {pb.TIER_TEACHER}
        assert dispatcher(alone).gate.refused == 0

    def test_a_pile_is_left_to_the_student(self, alone: Running) -> None:
        """The first calls that come together are none, whoever comes while they are drawn is."""
        service, found = alone.server.service, dispatcher(alone)
        found.gate = Gate(slept=iter([0, 1, 1, 2]).__next__)
        runtime = service.repository.find(TABLE)

        async def turn() -> tuple[bool, set[Tier]]:
            asked = SynthesisRequest(rows=1)
            requests = [check(asked, runtime, Work(math.inf), 1) for _ in range(16)]
            answers = [each for each in service.answers.answer_now(requests) if each is not None]
            assert all(isinstance(each, Answer) for each in answers)
            return found.gate.crowded(), {each.tier for each in answers}

        came, piled_up, came_again = (alone.run(turn()) for _ in range(3))
        assert piled_up == (True, {Tier.STUDENT})
        assert (came[0], came_again[0]) == (False, False)

    def test_over_grpc(
        self, alone: Running, teacher_held: tuple[threading.Event, threading.Event]
    ) -> None:
        inside, go_on = teacher_held
        dispatcher(alone).gate.limit = Limit(1.0, usual=0.025)
        call = alone.stub.Synthesize.future(ask(fidelity="FIDELITY_FULL"))
        assert inside.wait(30)
        error = failure(lambda: alone.stub.Synthesize(ask()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 requests are inside" in error.details()
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "25"
        go_on.set()
        assert call.result().rows.count == 1
        # It has its answer a moment before its place is free.
        alone.run(until(lambda: not any(dispatcher(alone).gate.inside.values())))
        assert alone.stub.Synthesize(ask()).rows.count == 1


def test_statistics_count_what_is_run(alone: Running) -> None:
    alone.stub.Synthesize(ask(fidelity="FIDELITY_FAST", draws=5))
    alone.stub.Synthesize(ask(row(items=3), fidelity="FIDELITY_FULL"))
    found = alone.stub.GetStatistics(pb.GetStatisticsRequest())
    assert [(e.table, e.version, e.tier, e.runs, e.rows) for e in found.engines] == [
        ("payments", 1, pb.TIER_STUDENT, 1, 5),
        ("payments", 1, pb.TIER_TEACHER, len(COLUMNS) - 1, len(COLUMNS) - 1),
    ]
    assert {(e.waiting, e.expired, e.late_starts) for e in found.engines} == {(0, 0, 0)}
    assert (found.inside, found.refused) == (0, 0)
    assert found.limit > 0


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([1, 1, 1], [[1, 1, 1]]),
        ([2, 2, 1], [[2, 2], [1]]),
        ([3, 3], [[3], [3]]),
        ([1, 9, 1], [[1], [9], [1]]),
        ([9], [[9]]),
    ],
)
def test_groups_are_full_and_in_order(rows: list[int], expected: list[list[int]]) -> None:
    assert [rows[group] for group in in_groups(rows, 4)] == expected


def test_many_rows_that_come_together_are_all_drawn_in_the_turn(alone: Running) -> None:
    """In several runs of the student; none has to wait in a task of its own."""
    (runtime,) = dispatcher(alone).engines
    most, wanted = ServerConfig.inline_rows, Wanted.FAST
    asked = SynthesisRequest(rows=most, wanted=wanted)
    requests = [check(asked, runtime, Work(math.inf), most) for _ in range(3)]

    async def drawn() -> list[Any]:
        return dispatcher(alone).draw_now(requests, [None] * 3)

    found = alone.run(drawn())
    assert [len(each.tokens) for each in found] == [most] * 3


class TestBeyondCapacity:
    """What is asked for takes long, and is drawn in a thread."""

    def test_what_would_wait_too_long_for_the_student_is_refused_unless_it_is_the_first(
        self, alone: Running
    ) -> None:
        engines(alone).student.queued = lambda: 60.0
        asked = ask(pb.Rows(count=2 * ServerConfig.inline_rows), fidelity=pb.FIDELITY_FAST)
        exc = failure(lambda: alone.stub.Synthesize(asked, timeout=30))
        assert exc.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "more calls wait" in exc.details()
        engines(alone).student.queued = lambda: 0.0
        assert alone.stub.Synthesize(asked, timeout=30).rows.count == 2 * ServerConfig.inline_rows
