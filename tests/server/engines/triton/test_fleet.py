"""Servers that refuse, hang, lie, go away and come back: what becomes of the requests."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.errors import ConfigError, DeadlinePassed, NotAllowed, NotReady, TooMuch
from cascade_tables import load_release

from tests.releases import TABLE
from tests.server.engines.triton.asked import (
    check,
    counted,
    hold,
    networks,
    soon,
    task,
    teacher_input,
    two,
    until,
)
from tests.server.engines.triton.fakes import SOON, FakeServer, Gate, fleet_of, refuses


class TestBatches:
    """Idle servers start at once; busy ones let requests gather."""

    async def test_work_is_spread_and_gathers_once_all_are_busy(self, runtime: Runtime) -> None:
        servers, gates = two(runtime), [Gate(), Gate()]
        async with fleet_of(runtime, *servers) as fleet:
            for server, gate in zip(servers, gates, strict=True):
                server.does = gate
            held = await hold(runtime, fleet, gates)
            assert [gate.inside for gate in gates] == [2, 2]
            student = fleet.student(runtime)
            tasks = [task(runtime, rows, seed=rows) for rows in (1, 2, 3)]
            waiting = [asyncio.create_task(student.submit(each, soon())) for each in tasks]
            await until(lambda: student.statistics().waiting_rows == 6)
            for gate in gates:
                gate.open.set()
            assert min(await asyncio.gather(*waiting)) > 0
            await asyncio.gather(*held)
            for each in tasks:
                check(runtime, each)
            # Three requests, one batch.
            assert sum(len(server.asked) for server in servers) == 5
            statistics = student.statistics()
            assert (statistics.runs, statistics.rows, statistics.waiting) == (5, 10, 0)

    async def test_more_rows_than_a_server_takes_are_cut(self, runtime: Runtime) -> None:
        servers = two(runtime)
        servers[0].max_batch, servers[1].max_batch = 32, 16
        async with fleet_of(runtime, *servers) as fleet:
            big = task(runtime, 100)
            await fleet.student(runtime).submit(big, soon())
            check(runtime, big)
            sizes = [[each.inputs[0].shape[0] for each in server.asked] for server in servers]
            assert sum(map(sum, sizes)) == 100
            assert (max(sizes[0]), max(sizes[1])) == (32, 16)

    async def test_passes_are_said_and_not_mixed(self, runtime: Runtime) -> None:
        (server, _), gate = two(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does, teacher = gate, fleet.teacher(runtime)
            asked = [
                asyncio.create_task(teacher.draw(teacher_input(runtime, steps=steps), soon()))
                for steps in (2, 3, 2)
            ]
            await until(lambda: gate.inside == 2)
            gate.open.set()
            await asyncio.gather(*asked)
            found = sorted(
                (request.parameters["steps"].int64_param, request.inputs[0].shape[0])
                for request in server.asked
            )
            assert found == [(2, 2), (3, 1)]

    async def test_offline_work_says_so_and_leaves_room(self, runtime: Runtime) -> None:
        (server, _), gate = two(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does, teacher = gate, fleet.teacher(runtime)
            offline = [
                asyncio.create_task(teacher.draw(teacher_input(runtime, steps=n), math.inf, True))
                for n in (1, 2)
            ]
            await until(lambda: gate.inside == 1)
            real = asyncio.create_task(teacher.draw(teacher_input(runtime, steps=3), soon()))
            await until(lambda: gate.inside == 2)
            parameters = [dict(request.parameters) for request in server.asked]
            assert parameters[0]["priority"].int64_param == 2
            assert "timeout" not in parameters[0]
            assert "priority" not in parameters[1]
            assert parameters[1]["timeout"].int64_param <= SOON * 1e6
            gate.open.set()
            await asyncio.gather(real, *offline)

    async def test_log_likelihoods(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        async with fleet_of(runtime, server) as fleet:
            given = teacher_input(runtime, 3)
            observed = np.array([[False], [True], [True]]) & np.ones((3, runtime.slots), bool)
            found = await fleet.teacher(runtime).log_likelihood(given.tokens, observed, soon())
            assert found.tolist() == [0.0, -runtime.slots, -runtime.slots]

    async def test_there_may_be_none(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        server.scores = False
        async with fleet_of(runtime, server) as fleet:
            given = teacher_input(runtime)
            with pytest.raises(NotAllowed, match="no output 'log_likelihood', FP64"):
                await fleet.teacher(runtime).log_likelihood(given.tokens, given.observed, soon())


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
            student = fleet.student(runtime)
            for seed in range(6):
                done = task(runtime, seed=seed)
                await student.submit(done, soon())
                check(runtime, done)
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
            servers[0].does, student = gate, fleet.student(runtime)
            for seed in range(6):
                done = task(runtime, seed=seed)
                await student.submit(done, soon())
                check(runtime, done)
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
        async with fleet_of(runtime, *servers) as fleet:
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


class TestDeadlines:
    """Late work is not started, and what nobody waits for is stopped there too."""

    async def test_late_before_it_was_sent(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        async with fleet_of(runtime, server) as fleet:
            student = fleet.student(runtime)
            with pytest.raises(DeadlinePassed):
                await student.submit(task(runtime), time.monotonic() - 0.001)
            assert not server.asked
            assert student.statistics().expired == 1

    async def test_late_there_and_in_the_queue(self, runtime: Runtime) -> None:
        (server, _), gate = two(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does, student = gate, fleet.student(runtime)
            held = await hold(runtime, fleet, [gate], each=1)
            near = time.monotonic() + 0.05
            there = asyncio.create_task(student.submit(task(runtime), near))
            await until(lambda: gate.inside == 2)
            queued = asyncio.create_task(student.submit(task(runtime), near))
            with pytest.raises(DeadlinePassed, match=f"while {server.target} had the request"):
                await there
            with pytest.raises(DeadlinePassed, match="in the queue"):
                await queued
            await until(lambda: gate.inside == 1)
            gate.open.set()
            await asyncio.gather(*held)
            assert counted(fleet, server).times_away == 0

    async def test_what_is_given_up_is_stopped_there(self, runtime: Runtime) -> None:
        (server, _), gate = two(runtime), Gate()
        async with fleet_of(runtime, server) as fleet:
            server.does = gate
            (held,) = await hold(runtime, fleet, [gate], each=1)
            held.cancel()
            await until(lambda: gate.cancelled == 1)
            assert counted(fleet, server).outstanding_rows == 0


class TestStart:
    """What is wrong is said at once, with the server, the model, what was found and is needed."""

    async def refusal(self, runtime: Runtime, *servers: FakeServer) -> str:
        with pytest.raises(ConfigError) as refused:
            async with fleet_of(runtime, *servers):
                pass
        return str(refused.value)

    async def test_a_model_is_missing(self, runtime: Runtime) -> None:
        student, _ = networks(runtime)
        server = FakeServer([student])
        said = await self.refusal(runtime, server)
        assert (
            f"{server.target}: model 'payments_teacher' is missing; the models there are: "
            "payments_student"
        ) in said

    async def test_one_of_two_has_it(self, runtime: Runtime) -> None:
        student, _ = networks(runtime)
        good, _ = two(runtime)
        bad = FakeServer([student])
        said = await self.refusal(runtime, good, bad)
        assert f"{bad.target}: model 'payments_teacher'" in said
        assert good.target not in said

    async def test_a_version_is_missing(self, runtime: Runtime, repository: Path) -> None:
        older = Runtime(load_release(repository, TABLE, 1), tiers=())
        said = await self.refusal(runtime, FakeServer(networks(older)))
        assert "model 'payments_student' has no version 3, the release's; its versions" in said

    async def test_shapes_are_of_another_release(self, runtime: Runtime) -> None:
        wrong = [
            Network(n.table, n.tier, n.version, n.sizes[:-1], n.noise, n.passes)
            for n in networks(runtime)
        ]
        said = await self.refusal(runtime, FakeServer(wrong))
        slots = runtime.slots
        assert (
            f"has input 'tokens' as INT32 [n, {slots - 1}]; the release's: INT32 [n, {slots}]"
            in (said)
        )

    async def test_a_model_fails_at_its_first_row(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        server.does = refuses(grpc.StatusCode.INTERNAL, "no such file")
        said = await self.refusal(runtime, server)
        assert "payments_student version 3 failed at its first row: no such file (INTERNAL)" in said

    async def test_nobody_is_there(self, runtime: Runtime) -> None:
        fleet = Fleet(["127.0.0.1:1"])
        with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1: connection refused"):
            await fleet.start([runtime])
        await fleet.stop()

    async def test_one_of_two_is_there(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        server, _ = two(runtime)
        await server.start()
        fleet = Fleet([server.target, "127.0.0.1:1"])
        await fleet.start([runtime])
        assert "127.0.0.1:1 is away: connection refused" in caplog.text
        await fleet.student(runtime).submit(task(runtime), soon())
        await fleet.stop()
        await server.stop()

    async def test_who_is_started_again_waits_for_one(self, runtime: Runtime) -> None:
        server, _ = two(runtime)
        await server.start()
        await server.stop()
        fleet = Fleet([server.target])
        await fleet.start([runtime], strict=False)
        assert math.isinf(fleet.student(runtime).predict(1))
        await server.start()
        await until(lambda: not math.isinf(fleet.student(runtime).predict(1)))
        await fleet.stop()
        await server.stop()


class TestReleases:
    """Releases that come and go while it runs."""

    async def test_one_comes_and_goes(self, runtime: Runtime, repository: Path) -> None:
        other = Runtime(load_release(repository, "shops", 1), tiers=())
        server = FakeServer([*networks(runtime), *networks(other)])
        async with fleet_of(runtime, server) as fleet:
            student = fleet.student(other)
            assert "not been looked at" in counted(fleet, server).reason
            await until(lambda: not counted(fleet, server).reason)
            await student.submit(task(other), soon())
            gate = Gate()
            server.does = gate
            held = asyncio.create_task(student.submit(task(other), soon()))
            await until(lambda: gate.inside == 1)
            fleet.forget(other)
            await until(lambda: gate.cancelled == 1)
            held.cancel()
            server.does = refuses(grpc.StatusCode.INTERNAL)
            assert "shops" not in counted(fleet, server).reason


def _known(runtime: Runtime) -> tuple[Any, Any]:
    given = teacher_input(runtime)
    return given.tokens, given.observed
