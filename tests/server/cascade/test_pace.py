"""Whether calls pile up while the event loop works."""

from __future__ import annotations

import select
from collections.abc import Iterator
from itertools import count, repeat

from cascade_server.cascade.pace import PILE, Pace, times_slept


def pace(slept: Iterator[int]) -> Pace:
    return Pace(lambda: next(slept))


def test_calls_that_came_while_the_loop_worked_are_a_pile() -> None:
    works = pace(repeat(7))
    assert [works.behind(calls) for calls in (1, PILE, PILE + 1, 16)] == [False, False, True, True]


def test_calls_that_woke_the_loop_are_none() -> None:
    sleeps = pace(count())
    assert not any(sleeps.behind(calls) for calls in (1, PILE + 1, 16))


def test_only_the_time_since_the_last_turn_counts() -> None:
    once = pace(iter([0, 0, 1, 1]))
    assert [once.behind(16) for _ in range(3)] == [True, False, True]


def test_a_thread_that_waits_has_slept() -> None:
    before = times_slept()
    select.select([], [], [], 0.001)
    assert times_slept() > before
