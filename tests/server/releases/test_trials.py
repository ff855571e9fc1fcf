"""Trials of canaries: when each begins, and when it is over."""

from __future__ import annotations

import pytest
from cascade_server.counts.shared.books import Books
from cascade_server.objectives.canary import CanaryConfig, Verdict
from cascade_server.objectives.objective import SloConfig
from cascade_server.releases.trials import Trials


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books() -> Books:
    return Books(SloConfig(), ["credit", "adult"], clock=lambda: 1_800_000_000.0)


def count(books: Books, table: str, canary: int, bad: int = 0, stable: int = 0) -> None:
    """Events of every objective of a table: its canary's, some of them bad, and the other's."""
    for number, objective in enumerate(books.objectives):
        if objective.table != table:
            continue
        arms = books.places[0].trial.arms
        arms[1][2 * number] += canary
        arms[1][2 * number + 1] += canary - bad
        arms[0][2 * number] += stable
        arms[0][2 * number + 1] += stable


def over(trials: Trials) -> list[tuple[str, int, Verdict]]:
    return [(table, version, judged.verdict) for table, version, judged in trials.judged()]


def test_one_begins_once(clock: Clock, books: Books) -> None:
    trials = Trials(CanaryConfig(), clock)
    assert not trials
    assert trials.holds("credit", 2, books)
    assert not trials.holds("credit", 2, books)
    assert trials
    # Another version is another trial, and so is the same one that is counted elsewhere.
    assert trials.holds("credit", 3, books)
    assert trials.holds("credit", 3, Books(SloConfig(), ["credit"]))
    assert not trials.holds("credit", 0, books)
    assert not trials


def test_it_lasts_as_long_and_takes_as_many_calls_as_is_said(clock: Clock, books: Books) -> None:
    trials = Trials(CanaryConfig(seconds=60, calls=500), clock)
    trials.holds("credit", 2, books)
    count(books, "credit", canary=1000, stable=1000)
    clock.now += 59
    assert over(trials) == []
    assert trials.reasons["credit"]
    clock.now += 1
    assert over(trials) == [("credit", 2, Verdict.PROMOTE)]


def test_too_few_calls_are_waited_for(clock: Clock, books: Books) -> None:
    trials = Trials(CanaryConfig(seconds=60, calls=500), clock)
    trials.holds("credit", 2, books)
    count(books, "credit", canary=100, stable=1000)
    clock.now += 3600
    assert over(trials) == []


def test_a_bad_one_is_over_at_once(clock: Clock, books: Books) -> None:
    trials = Trials(CanaryConfig(), clock)
    trials.holds("credit", 2, books)
    trials.holds("adult", 5, books)
    count(books, "credit", canary=100, bad=100, stable=1000)
    assert over(trials) == [("credit", 2, Verdict.ROLL_BACK)]


def test_what_was_counted_before_does_not_count(clock: Clock, books: Books) -> None:
    count(books, "credit", canary=100, bad=100, stable=1000)
    trials = Trials(CanaryConfig(), clock)
    trials.holds("credit", 2, books)
    assert over(trials) == []
