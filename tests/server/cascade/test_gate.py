"""Whether calls pile up in front of the gate while the loop works, and who waits for a place."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterator
from itertools import count, repeat

from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.gate import BACKLOG, Gate, times_slept
from cascade_server.terms import Priority


def behind(slept: Iterator[int], turns: list[int]) -> list[bool]:
    """Whether AUTO leaves the teacher out in each of some turns."""
    gate, found = Gate(slept=lambda: next(slept)), []
    for calls in turns:
        gate.turn_begins(calls)
        found.append(gate.crowded())
    return found


def test_calls_that_came_while_the_loop_worked_are_a_pile() -> None:
    assert behind(repeat(7), [1, BACKLOG, BACKLOG + 1, 16]) == [False, False, True, True]


def test_calls_that_woke_the_loop_are_none() -> None:
    assert behind(count(), [1, BACKLOG + 1, 16]) == [False, False, False]


def test_only_the_time_since_the_last_turn_counts() -> None:
    assert behind(iter([0, 0, 1, 1]), [16, 16, 16]) == [True, False, True]


def test_a_thread_that_waits_has_slept() -> None:
    before = times_slept()
    select.select([], [], [], 0.001)
    assert times_slept() > before


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_hang_up_together_keep_no_places() -> None:
    """One who is inside and some who wait, on a connection that is lost."""
    gate = Gate(LimitConfig(initial=2, least=2))

    async def stay() -> None:
        await gate.wait_to_enter(Priority.OFFLINE, is_new=True)
        try:
            await asyncio.Event().wait()
        finally:
            gate.leave(Priority.OFFLINE)

    tasks = [asyncio.create_task(stay()) for _ in range(4)]
    await settled()
    for task in tasks[:3]:
        task.cancel()
    found = await asyncio.gather(*tasks[:3], return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError] * 3
    await settled()
    assert gate.inside[Priority.OFFLINE] == 1  # The fourth has been let in.
    tasks[3].cancel()
    await asyncio.gather(tasks[3], return_exceptions=True)
    assert gate.inside[Priority.OFFLINE] == 0


async def full_gate_with_two_waiting() -> tuple[Gate, int, list[asyncio.Task[None]]]:
    """A gate that is full for offline work, how many are inside, and two who wait."""
    gate = Gate(LimitConfig(initial=8), slept=lambda: 0)
    while gate.inside[Priority.OFFLINE] < 4:
        gate.enter(Priority.OFFLINE)
    waiting = [
        asyncio.create_task(gate.wait_to_enter(Priority.OFFLINE, is_new=True)) for _ in range(2)
    ]
    await asyncio.sleep(0)
    return gate, gate.inside[Priority.OFFLINE], waiting


async def test_a_place_given_back_beside_one_that_hangs_up_goes_to_the_next() -> None:
    gate, inside, (gone, other) = await full_gate_with_two_waiting()
    gone.cancel()
    gate.leave(Priority.OFFLINE)  # before the cancelled task has run
    ended = await asyncio.gather(gone, other, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert ended[1] is None
    assert gate.inside[Priority.OFFLINE] == inside


async def test_who_hangs_up_when_let_in_gives_the_place_to_the_next() -> None:
    gate, inside, (gone, other) = await full_gate_with_two_waiting()
    gate.leave(Priority.OFFLINE)
    gone.cancel()
    ended = await asyncio.gather(gone, other, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert ended[1] is None
    assert gate.inside[Priority.OFFLINE] == inside
