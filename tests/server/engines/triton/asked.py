"""What tests ask of a fleet of fake servers, and how they wait for what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cascade_proto import synthesis_pb2
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.tasks import StudentTask
from cascade_server.engines.teacher import TeacherInput
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.terms import Tier

from tests.server.engines.triton.fakes import SOON, FakeServer, Gate, drawn_of


def networks(runtime: Runtime) -> list[Network]:
    """A release's student and teacher."""
    return [Network.of_release(runtime, tier) for tier in Tier]


def two(runtime: Runtime) -> tuple[FakeServer, FakeServer]:
    """Servers that have them."""
    return FakeServer(networks(runtime)), FakeServer(networks(runtime))


def task(runtime: Runtime, rows: int = 1, seed: int = 0) -> StudentTask:
    """Rows of which nothing is known, and noise."""
    rng = np.random.default_rng(seed)
    tokens, observed = np.zeros((rows, runtime.slots), np.int32), np.zeros((rows, runtime.slots))
    noise = rng.random((rows, runtime.student_noise), dtype=np.float32)
    return StudentTask(tokens, observed.astype(bool), noise)


def teacher_input(runtime: Runtime, rows: int = 1, steps: int = 1) -> TeacherInput:
    """The same for the teacher."""
    made = task(runtime, rows)
    noise = np.full((rows, runtime.teacher_noise), 0.5, np.float32)
    return TeacherInput(made.tokens, made.observed, noise, steps)


def soon() -> float:
    """A deadline that nothing here misses."""
    return time.monotonic() + SOON


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again."""
    async with asyncio.timeout(SOON):
        while not holds():
            await asyncio.sleep(0.001)


def counted(fleet: Fleet, server: FakeServer) -> Any:
    """What the fleet says of a server."""
    out = synthesis_pb2.GetStatisticsResponse()
    fleet.describe(out)
    return next(each for each in out.servers if each.target == server.target)


def check(runtime: Runtime, done: StudentTask) -> None:
    """It has the rows of its own noise."""
    network = Network.of_release(runtime, Tier.STUDENT)
    expected = drawn_of(network, done.tokens, done.observed, done.noise)
    np.testing.assert_array_equal(done.drawn, expected)


async def ask_in_turn(runtime: Runtime, fleet: Fleet, rows: int = 6) -> None:
    """Rows one after another, each with a noise of its own, and each as it should be."""
    student = fleet.student(runtime)
    for seed in range(rows):
        done = task(runtime, seed=seed)
        await student.submit(done, soon())
        check(runtime, done)


async def hold(
    runtime: Runtime, fleet: Fleet, gates: list[Gate], each: int = 2
) -> list[asyncio.Task[float]]:
    """Give servers that keep what they get all the batches that they may have."""
    student, held = fleet.student(runtime), []
    for number in range(each * len(gates)):
        held.append(asyncio.create_task(student.submit(task(runtime, seed=number), soon())))
        await until(lambda n=number: sum(gate.inside for gate in gates) == n + 1)  # type: ignore[misc]
    return held


async def give_up(runtime: Runtime, fleet: Fleet, gate: Gate) -> None:
    """Take back the one request that a server has, and wait until the server has stopped."""
    (held,) = await hold(runtime, fleet, [gate], each=1)
    held.cancel()
    await until(lambda: gate.cancelled == 1)
