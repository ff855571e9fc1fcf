"""Predictions of batches on a machine that stands still now and then, over many seeds.

Factors are beside what a batch takes that nobody disturbs. They are bounds that all seeds keep,
with the median of the seeds held to a nearer one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from statistics import median

import pytest
from cascade_server.engines.latency_model import LatencyModel

# Seconds of a batch and of a row: a student in compiled code, a teacher on a core, a device.
COSTS = {"student": (4e-5, 1e-5), "teacher": (8e-4, 1.2e-4), "device": (2e-3, 2e-6)}
WARM = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STALLS = (0.004, 0.01, 0.02, 0.08)
SEEDS = range(20)
# Rows of batches that were observed, and of one that was not.
ASKED = (1, 64, 1024, 32_000)


class Machine:
    """Runs batches; a part of them is stalled."""

    def __init__(self, cost: str, seed: int, stalled: float = 0.0) -> None:
        self._cost, self._rng = COSTS[cost], random.Random(seed)
        self.stalled, self.slowness = stalled, 1.0
        self.model = LatencyModel()

    def seconds(self, rows: int) -> float:
        """What a batch takes that nobody disturbs."""
        base, a_row = self._cost
        return self.slowness * (base + a_row * rows)

    def run(self, rows: int) -> None:
        """Run a batch, and learn from it."""
        seconds = self.seconds(rows) * self._rng.uniform(0.9, 1.2)
        while self._rng.random() < self.stalled:
            seconds += self._rng.choice(STALLS)
        self.model.observe(rows, seconds)

    def warm(self) -> None:
        for rows in WARM:
            self.run(rows)

    def some(self, batches: int, rows: tuple[int, ...] = WARM) -> None:
        for _ in range(batches):
            self.run(self._rng.choice(rows))

    def mean(self, rows: int) -> float:
        """The prediction, in parts of the truth."""
        return self.model.mean(rows) / self.seconds(rows)

    def tail(self, rows: int) -> float:
        """Likewise of the tail, in parts of the truth and a stall."""
        allowed = max(STALLS) if self.stalled else 0.0
        return self.model.tail(rows) / (self.seconds(rows) + 2 * allowed)


@cache
def machines(cost: str, stalled: float, history: str) -> list[Machine]:
    found = []
    for seed in SEEDS:
        machine = Machine(cost, seed, stalled)
        machine.warm()
        HISTORIES[history](machine)
        found.append(machine)
    return found


HISTORIES: dict[str, Callable[[Machine], None]] = {
    "the warm-up": lambda machine: None,
    "some rows one by one": lambda machine: machine.some(50, (1,)),
    "many rows one by one": lambda machine: machine.some(600, (1,)),
    "batches of all sizes": lambda machine: machine.some(400),
}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("cost", COSTS)
class TestStalls:
    """However little has been observed, and of whatever sizes."""

    @pytest.mark.parametrize(
        ("stalled", "usual", "worst"), [(0.0, 1.25, 1.6), (0.1, 1.3, 2.5), (0.3, 1.4, 15.0)]
    )
    def test_large_batches_are_not_taken_to_last_for_ever(
        self, cost: str, history: str, stalled: float, usual: float, worst: float
    ) -> None:
        found = machines(cost, stalled, history)
        for rows in (1024, 32_000):
            means = [machine.mean(rows) for machine in found]
            assert 1 / usual < median(means) < usual
            assert max(means) < worst
            assert min(means) > 0.5

    @pytest.mark.parametrize("stalled", [0.0, 0.1, 0.3])
    def test_a_tail_is_no_more_than_some_times_the_truth_and_a_stall(
        self, cost: str, history: str, stalled: float
    ) -> None:
        found = machines(cost, stalled, history)
        for rows in ASKED:
            tails = [machine.tail(rows) for machine in found]
            assert median(tails) < 4.5
            assert max(tails) < 20.0


@pytest.mark.parametrize("cost", COSTS)
class TestChanges:
    """The machine is not what it was."""

    def test_after_the_stalls_it_is_as_if_there_had_been_none(self, cost: str) -> None:
        """Of each size within 32 batches, the tail within 256 batches of all."""
        for seed in SEEDS:
            machine = Machine(cost, seed, stalled=0.6)
            machine.warm()
            machine.some(400)
            machine.stalled = 0.0
            for rows in WARM * 32:
                machine.run(rows)
            assert max(machine.mean(rows) for rows in ASKED) < 1.25
            assert max(machine.tail(rows) for rows in ASKED) < 1.6

    @pytest.mark.parametrize("rows", [1, 16, 1024])
    def test_a_machine_that_became_slower_is_followed(self, cost: str, rows: int) -> None:
        """Two thirds of it were taken away: of the size that runs within 40 batches to a quarter,
        however many there were before."""
        for seed in SEEDS:
            machine = Machine(cost, seed)
            machine.warm()
            machine.some(300, (rows,))
            machine.slowness = 3.0
            machine.some(40, (rows,))
            assert 0.75 < machine.mean(rows) < 1.25

    def test_so_is_one_that_became_faster_again(self, cost: str) -> None:
        for seed in SEEDS:
            machine = Machine(cost, seed)
            machine.slowness = 3.0
            machine.warm()
            machine.some(300)
            machine.slowness = 1.0
            for rows in WARM * 32:
                machine.run(rows)
            assert max(machine.mean(rows) for rows in ASKED) < 1.25

    def test_one_row_after_another_does_not_make_a_row_of_many_as_dear(self, cost: str) -> None:
        """What was learnt of the slope stays, however long nothing else has been seen."""
        machine = Machine(cost, seed=0)
        machine.warm()
        machine.some(5000, (1,))
        assert 0.6 < machine.mean(1024) < 1.6


def test_the_first_batch_after_a_long_silence_may_be_as_long_as_it_likes() -> None:
    """The process was paused meanwhile, or the memory was swapped out."""
    machine = Machine("student", seed=0)
    machine.warm()
    machine.some(100)
    means = [machine.mean(rows) for rows in ASKED]
    machine.model.observe(1, 600.0)
    assert [machine.mean(rows) for rows in ASKED] == means


def test_a_stall_is_as_long_for_many_rows_as_for_one() -> None:
    """A part of single rows takes 80 ms more: so may a batch, but not 1,600 times as long."""
    model = LatencyModel()
    for rows in WARM:
        model.observe(rows, 4e-5 + 1e-5 * rows)
    for number in range(300):
        model.observe(1, 5e-5 + 0.08 * (number % 10 == 0))
    assert model.tail(1) == pytest.approx(0.08, rel=0.01)
    assert model.tail(1024) == pytest.approx(0.08 + 4e-5 + 1e-5 * 1024, rel=0.01)
