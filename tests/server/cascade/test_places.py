"""Who waits for a place, and in which order they are let in."""

from __future__ import annotations

import asyncio

import pytest
from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.gate import MOST_WAITING, Gate
from cascade_server.errors import TooMuch
from cascade_server.terms import Priority

# Of eight, four are kept for real-time work.
CONFIG = LimitConfig(initial=8)
OFFLINE_PLACES = 4


def full() -> Gate:
    gate = Gate(CONFIG, slept=lambda: 0)
    for _ in range(OFFLINE_PLACES):
        gate.enter(Priority.OFFLINE)
    return gate


async def begun(gate: Gate, is_new: bool = False) -> asyncio.Task[None]:
    task = asyncio.create_task(gate.wait_to_enter(Priority.OFFLINE, is_new))
    await asyncio.sleep(0)
    return task


async def test_at_once_where_there_is_a_place() -> None:
    gate = Gate(CONFIG, slept=lambda: 0)
    await gate.wait_to_enter(Priority.OFFLINE, is_new=True)
    assert gate.inside[Priority.OFFLINE] == 1


async def test_by_turns_as_places_become_free() -> None:
    gate = full()
    first, second = await begun(gate), await begun(gate)
    gate.leave(Priority.OFFLINE)
    await first
    assert not second.done()
    gate.leave(Priority.OFFLINE)
    await second
    assert gate.inside[Priority.OFFLINE] == OFFLINE_PLACES


async def test_nobody_passes_those_who_wait() -> None:
    gate = full()
    waiting = await begun(gate)
    gate.leave(Priority.OFFLINE)  # The place is the waiting one's from this moment on.
    late = await begun(gate)
    await waiting
    assert not late.done()
    late.cancel()


async def test_real_time_is_not_held_up() -> None:
    gate = full()
    waiting = await begun(gate)
    gate.enter(Priority.REALTIME)
    assert gate.inside[Priority.REALTIME] == 1
    waiting.cancel()


async def test_who_gives_up_leaves_the_queue() -> None:
    gate = full()
    first, second = await begun(gate), await begun(gate)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.leave(Priority.OFFLINE)
    await second
    assert gate.inside[Priority.OFFLINE] == OFFLINE_PLACES


async def test_who_gives_up_in_the_moment_of_entering_gives_the_place_back() -> None:
    gate = full()
    waiting = await begun(gate)
    gate.leave(Priority.OFFLINE)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert gate.inside[Priority.OFFLINE] == OFFLINE_PLACES - 1


async def test_new_work_is_refused_behind_too_many_and_begun_work_is_not() -> None:
    gate = full()
    tasks = [await begun(gate) for _ in range(MOST_WAITING)]
    with pytest.raises(TooMuch):
        await gate.wait_to_enter(Priority.OFFLINE, is_new=True)
    tasks.append(await begun(gate, is_new=False))
    assert not tasks[-1].done()
    for task in tasks:
        task.cancel()
