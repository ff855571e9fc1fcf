"""A teacher that fails though it is there: what it is called, and when it is left alone."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from cascade_server.engines.watched_teacher import (
    MOST_FAILURES,
    REST_SECONDS,
    Failures,
    WatchedTeacher,
)
from cascade_server.errors import DeadlinePassed, NotReady, TeacherFailed, refusal_of


class Teacher:
    """Draws nothing, and raises what it is told to."""

    most_rows = 8

    def __init__(self) -> None:
        self.raises: Exception | None = None

    async def draw(self, *_: Any) -> Any:
        if self.raises is not None:
            raise self.raises
        return "rows", 0.0

    async def log_likelihood(self, *_: Any) -> Any:
        return await self.draw()

    def predict(self, rows: int, passes: int) -> float:
        return 1e-3

    def away(self) -> str:
        return "it is away"


class Bench:
    """One that is watched, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now, self.inside = 1000.0, Teacher()
        inside: Any = self.inside
        self.teacher = WatchedTeacher(inside, "payments version 3", lambda: self.now)

    async def ask(self, score: bool = False) -> Any:
        nothing: Any = None
        if score:
            return await self.teacher.log_likelihood(nothing, nothing, math.inf)
        return await self.teacher.draw(nothing, math.inf)

    async def fail(self, times: int) -> None:
        self.inside.raises = MemoryError("arena\nat 0x7f00")
        for _ in range(times):
            self.now += 0.1
            with pytest.raises(TeacherFailed):
                await self.ask()

    @property
    def is_left_alone(self) -> bool:
        return math.isinf(self.teacher.predict(1, 1))


@pytest.mark.parametrize("score", [False, True])
async def test_a_failure_says_what_happened_and_no_more(score: bool) -> None:
    bench = Bench()
    bench.inside.raises = MemoryError("arena\nat 0x7f00")
    with pytest.raises(TeacherFailed) as caught:
        await bench.ask(score)
    refusal = refusal_of(caught.value)
    assert (refusal.code.name, refusal.message) == (
        "INTERNAL",
        "the teacher failed: MemoryError: arena",
    )


@pytest.mark.parametrize("known", [DeadlinePassed("too late"), NotReady("it is away")])
async def test_what_is_no_failure_of_its_own_stays_what_it_is(known: Exception) -> None:
    bench = Bench()
    bench.inside.raises = known
    for _ in range(2 * MOST_FAILURES):
        with pytest.raises(type(known)):
            await bench.ask()
    assert not bench.is_left_alone


async def test_one_that_fails_some_times_in_a_row_is_left_alone_until_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    await bench.fail(MOST_FAILURES - 1)
    assert not bench.is_left_alone
    await bench.fail(1)
    assert bench.is_left_alone
    assert "has failed 3 times in a row" in bench.teacher.away()
    assert "MemoryError: arena" in bench.teacher.away()
    bench.now += REST_SECONDS
    assert not bench.is_left_alone  # one tries
    await bench.fail(1)
    assert bench.is_left_alone
    bench.now += REST_SECONDS
    bench.inside.raises = None
    with caplog.at_level(logging.WARNING):
        await bench.ask()
    assert not bench.is_left_alone
    assert bench.teacher.away() == "it is away"
    assert "the teacher of payments version 3 works again" in caplog.text


async def test_a_success_in_between_begins_anew() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.fail(MOST_FAILURES - 1)
        bench.inside.raises = None
        await bench.ask()
    assert not bench.is_left_alone


def test_others_wait_for_what_becomes_of_one_that_tries() -> None:
    failures = Failures()
    for now in range(MOST_FAILURES):
        failures.failed(now, now)
    later = MOST_FAILURES + REST_SECONDS
    assert not failures.rests(later)
    failures.begins(later)
    assert failures.rests(later + 1)
    assert failures.worked()
    assert not failures.rests(later + 1)


def test_those_of_one_pass_fail_once() -> None:
    failures = Failures()
    told = [failures.failed(began, 1.0) for began in (0.0, 0.1, 0.2, 0.3)]
    assert told == [True, False, False, False]
    assert failures.in_a_row == 1
