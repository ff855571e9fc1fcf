"""Requests in batches on the servers of a fleet, and their deadlines."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
import pytest
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import DeadlinePassed, NotAllowed

from tests.server.engines.triton.asked import (
    check,
    counted,
    give_up,
    hold,
    soon,
    task,
    teacher_input,
    two,
    until,
)
from tests.server.engines.triton.fakes import SOON, Gate, fleet_of


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
            await give_up(runtime, fleet, gate)
            assert counted(fleet, server).outstanding_rows == 0
