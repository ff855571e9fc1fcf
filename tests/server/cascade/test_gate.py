"""Whether calls pile up in front of the gate while the event loop works."""

from __future__ import annotations

import select
from collections.abc import Iterator
from itertools import count, repeat

from cascade_server.cascade.gate import PILE, Gate, times_slept


def behind(slept: Iterator[int], turns: list[int]) -> list[bool]:
    """Whether AUTO leaves the teacher out in each of some turns."""
    gate, found = Gate(slept=lambda: next(slept)), []
    for calls in turns:
        gate.turn_begins(calls)
        found.append(gate.crowded())
    return found


def test_calls_that_came_while_the_loop_worked_are_a_pile() -> None:
    assert behind(repeat(7), [1, PILE, PILE + 1, 16]) == [False, False, True, True]


def test_calls_that_woke_the_loop_are_none() -> None:
    assert behind(count(), [1, PILE + 1, 16]) == [False, False, False]


def test_only_the_time_since_the_last_turn_counts() -> None:
    assert behind(iter([0, 0, 1, 1]), [16, 16, 16]) == [True, False, True]


def test_a_thread_that_waits_has_slept() -> None:
    before = times_slept()
    select.select([], [], [], 0.001)
    assert times_slept() > before
