"""Servers that refuse, hang, lie, go away and come back: what becomes of the requests."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import grpc
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import DeadlinePassed, NotReady, TooMuch

from tests.server.engines.triton.asked import (
    ask_in_turn,
    check,
    counted,
    hold,
    soon,
    task,
    teacher_input,
    two,
    until,
)
from tests.server.engines.triton.fakes import Gate, fleet_of, refuses


class TestFailover:
    """A batch that failed is tried elsewhere while there is time."""

    @pytest.mark.parametrize(
        "code",
        [
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.UNKNOWN,
        ],
    )
    async def test_another_one_answers(self, runtime: Runtime, code: grpc.StatusCode) -> None:
        servers = two(runtime)
        async with fleet_of(runtime, *servers) as fleet:
            servers[0].does = refuses(code)
            await ask_in_turn(runtime, fleet)
            assert servers[0].asked
            assert counted(fleet, servers[0]).failovers >= 1
            assert counted(fleet, servers[1]).batches == 6

    async def test_one_goes_away_with_what_it_has(self, runtime: Runtime) -> None:
        servers, gates = two(runtime), [Gate(), Gate()]
        async with fleet_of(runtime, *servers) as fleet:
            for server, gate in zip(servers, gates, strict=True):
                server.does = gate
            held = await hold(runtime, fleet, gates)
            await servers[0].stop()
            gates[1].open.set()
            await asyncio.gather(*held)
            await until(lambda: not counted(fleet, servers[0]).up)
            assert counted(fleet, servers[0]).times_away == 1
            await until(lambda: "refused" in counted(fleet, servers[0]).reason)
            # It is taken back, and learns of no failure that was before.
            await servers[0].start()
            gates[0].open.set()
            await until(lambda: counted(fleet, servers[0]).up)
            before = counted(fleet, servers[0]).batches
            for seed in range(4):
                await fleet.student(runtime).submit(task(runtime, seed=seed), soon())
            assert counted(fleet, servers[0]).batches > before

    async def test_accepted_requests_outlast_a_short_absence_of_all(self, runtime: Runtime) -> None:
        (server, _), gate = two(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            held = await hold(runtime, fleet, [gate])
            await server.stop()
            await until(lambda: not counted(fleet, server).up)
            gate.open.set()
            await server.start()
            await asyncio.gather(*held)

    async def test_but_not_a_long_one(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cascade_server.engines.triton.batches.GRACE", 0.05)
        (server, _), gate = two(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            held = await hold(runtime, fleet, [gate])
            await server.stop()
            for each in held:
                with pytest.raises(NotReady, match="no server can be asked for payments_student"):
                    await each
            student, teacher = fleet.student(runtime), fleet.teacher(runtime)
            assert (student.predict(1), teacher.predict(1, 1)) == (math.inf, math.inf)
            with pytest.raises(NotReady, match=server.target):
                await student.submit(task(runtime), soon())
            with pytest.raises(NotReady, match=server.target):
                await teacher.log_likelihood(*_known(runtime), soon())

    @pytest.mark.parametrize(
        ("code", "error", "words"),
        [
            (grpc.StatusCode.INTERNAL, NotReady, "payments_student version 3 failed at 127"),
            (grpc.StatusCode.INVALID_ARGUMENT, NotReady, "as told"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, TooMuch, "as told"),
            (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlinePassed, "as told"),
        ],
    )
    async def test_what_none_can_do_is_refused_in_the_usual_words(
        self, runtime: Runtime, code: grpc.StatusCode, error: type[Exception], words: str
    ) -> None:
        servers = two(runtime)
        async with fleet_of(runtime, *servers) as fleet:
            for server in servers:
                said = ("grpc-retry-pushback-ms", "42")
                server.does = refuses(code, "as told\nTraceback: at /models/model.py", said)
            with pytest.raises(error, match=words) as refused:
                await fleet.student(runtime).submit(task(runtime), soon())
            assert "Traceback" not in str(refused.value)
            assert [len(server.asked) for server in servers] == [1, 1]
            if isinstance(refused.value, TooMuch):
                assert refused.value.pushback_ms == 42
            # One bad batch says little of a server.
            assert all(counted(fleet, server).up for server in servers)

    async def test_a_model_that_fails_again_and_again_is_looked_at(self, runtime: Runtime) -> None:
        servers = two(runtime)
        async with fleet_of(runtime, *servers) as fleet:
            servers[0].does = refuses(grpc.StatusCode.INTERNAL, "out of memory")
            student = fleet.student(runtime)
            for seed in range(30):
                await student.submit(task(runtime, seed=seed), soon())
            assert "out of memory" in counted(fleet, servers[0]).reason
            asked = len(servers[0].asked)
            servers[0].does = servers[1].does
            await until(lambda: not counted(fleet, servers[0]).reason)
            assert len(servers[0].asked) > asked  # it has drawn a row to show that it can

    async def test_an_answer_that_cannot_be_is_none(self, runtime: Runtime) -> None:
        servers = two(runtime)
        async with fleet_of(runtime, *servers) as fleet:
            honest = servers[0].ModelInfer

            async def lies(request: Any, context: Any) -> pb.ModelInferResponse:
                out = await honest(request, context)
                out.raw_output_contents[0] = bytes(len(out.raw_output_contents[0]) - 4)
                return out

            servers[0].ModelInfer = lies  # type: ignore[method-assign]
            await servers[0].stop()
            await servers[0].start()
            for seed in range(4):
                done = task(runtime, seed=seed)
                await fleet.student(runtime).submit(done, soon())
                check(runtime, done)


class TestHangs:
    """A server that keeps its connection and says nothing."""

    async def test_another_one_is_asked_too(self, runtime: Runtime) -> None:
        servers, gate = two(runtime), Gate()
        async with fleet_of(runtime, *servers) as fleet:
            servers[0].does = gate
            await ask_in_turn(runtime, fleet)
            found = counted(fleet, servers[0])
            assert found.hedges >= 1
            # Who was overtaken is told to stop.
            await until(lambda: gate.cancelled == found.hedges)
            assert counted(fleet, servers[0]).outstanding_batches == 0

    async def test_the_first_answer_counts(self, runtime: Runtime) -> None:
        """The one that was slow is first after all, since the other one hangs too."""
        servers, gates = two(runtime), [Gate(), Gate()]
        async with fleet_of(runtime, *servers) as fleet:
            for server, gate in zip(servers, gates, strict=True):
                server.does = gate
            done = task(runtime)
            asked = asyncio.create_task(fleet.student(runtime).submit(done, soon()))
            await until(lambda: gates[0].inside == gates[1].inside == 1)
            first = next(g for g, s in zip(gates, servers, strict=True) if s.asked)
            first.open.set()
            await asked
            check(runtime, done)
            await until(lambda: sum(gate.cancelled for gate in gates) == 1)

    async def test_one_that_answers_no_health_check_is_away(self, runtime: Runtime) -> None:
        servers, gate, asked = two(runtime), Gate(), Gate()
        async with fleet_of(runtime, *servers, patience=0.5) as fleet:
            honest = servers[0].ServerReady

            async def silent(request: Any, context: Any) -> pb.ServerReadyResponse:
                await asked(request, context)
                return await honest(request, context)

            servers[0].does, servers[0].ServerReady = gate, silent  # type: ignore[method-assign]
            await servers[0].stop()
            await servers[0].start()
            await until(lambda: "DEADLINE" in counted(fleet, servers[0]).reason)
            asked.open.set()
            gate.open.set()
            await until(lambda: counted(fleet, servers[0]).up)

    async def test_one_that_says_that_it_is_not_ready_is_away(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        async with fleet_of(runtime, server) as fleet:
            server.ready = False
            await until(lambda: "not ready" in counted(fleet, server).reason)
            server.ready = True
            await until(lambda: counted(fleet, server).up)


def _known(runtime: Runtime) -> tuple[Any, Any]:
    given = teacher_input(runtime)
    return given.tokens, given.observed
