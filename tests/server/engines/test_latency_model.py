"""Predictions of how long a batch takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cascade_server.engines.latency_model import HALF_LIFE, Hindsight, LatencyModel


def taught(seconds_of, batches: int = 400, noise: float = 0.0, seed: int = 0) -> LatencyModel:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    model = LatencyModel()
    for rows in rng.choice([1, 2, 4, 16, 64, 256, 1024], batches).tolist():
        model.observe(rows, seconds_of(rows) * float(np.exp(noise * rng.standard_normal())))
    return model


def test_nothing_is_known_at_first() -> None:
    model = LatencyModel()
    assert not model.known
    assert model.mean(7) == 0


@pytest.mark.parametrize("rows", [1, 3, 100, 2000])
def test_a_line_is_found(rows: int) -> None:
    model = taught(lambda n: 20e-6 * n + 80e-6)
    assert model.mean(rows) == pytest.approx(20e-6 * rows + 80e-6, rel=1e-6)


def test_one_size_of_batch_says_that_rows_cost_in_proportion() -> None:
    model = LatencyModel()
    for _ in range(10):
        model.observe(4, 2e-3)
    assert model.mean(4) == pytest.approx(2e-3)
    assert model.mean(8) == pytest.approx(4e-3)


def test_it_never_predicts_less_for_more_rows() -> None:
    model = taught(lambda n: 1e-3 / n)
    assert model.mean(1000) >= model.mean(1) > 0


def test_it_follows_a_machine_that_becomes_slower() -> None:
    model = taught(lambda n: 1e-5 * n + 1e-4)
    for rows in [1, 16, 256] * 1000:
        model.observe(rows, 3 * (1e-5 * rows + 1e-4))
    assert model.mean(16) == pytest.approx(3 * 2.6e-4, rel=0.02)


@pytest.mark.parametrize("before", [40, 400])
def test_a_machine_that_stood_still_is_no_slower(before: int) -> None:
    """One batch that took half a minute is not what the next one will take."""
    model = taught(lambda n: 20e-6 * n + 80e-6, before)
    expected = model.tail(64)
    model.observe(64, 30.0)
    assert model.tail(64) < 10 * expected


def test_what_was_learnt_while_the_machine_stood_still_is_forgotten() -> None:
    """A server that starts beside programs which take all processors sees batches of seconds."""
    model = LatencyModel()
    for number in range(200):
        model.observe(4, 3.0 if number % 20 else 60.0)
    assert model.tail(4) > 3 * model.mean(4)
    model.observe(4, 2e-3)
    assert model.mean(4) == pytest.approx(2e-3)
    assert model.tail(4) == pytest.approx(4e-3)


def test_the_tail_is_the_spread_that_was_seen() -> None:
    """Log-normal spread of .3: the .99 quantile is exp(.3 · 2.33) = 2.0 times the median."""
    model = taught(lambda n: 1e-5 * n + 1e-4, batches=3000, noise=0.3)
    median = 1e-5 * 64 + 1e-4
    # A sample of 256 ratios, of which the third-largest is read: 25 % either way.
    assert model.tail(64) == pytest.approx(median * np.exp(0.3 * 2.33), rel=0.25)


def test_the_spreads_of_passes_add_up_as_of_independent_ones() -> None:
    model = taught(lambda n: 1e-5 * n + 1e-4, batches=1000, noise=0.3)
    mean, tail = model.mean(8), model.tail(8)
    assert model.tail(8, passes=16) == pytest.approx(16 * mean + 4 * (tail - mean))


class TestHindsight:
    """What is later than its engine can tell."""

    def test_at_first_predictions_are_believed(self) -> None:
        assert Hindsight().delay(1000.0) == 0

    def test_what_is_in_time_changes_nothing(self) -> None:
        hindsight = Hindsight()
        hindsight.observe(1000.0, 10e-3, 9e-3)
        hindsight.observe(1000.0, math.inf, 1.0)
        assert hindsight.delay(1000.0) == 0

    def test_one_that_is_late_is_not_yet_the_rule(self) -> None:
        hindsight = Hindsight()
        hindsight.observe(1000.0, 10e-3, 50e-3)
        assert hindsight.delay(1000.0) == pytest.approx(10e-3)

    def test_many_that_are_late_are(self) -> None:
        hindsight = Hindsight()
        for at in range(20):
            hindsight.observe(1000.0 + 1e-3 * at, 10e-3, 50e-3)
        assert hindsight.delay(1000.02) == pytest.approx(40e-3, rel=0.05)

    def test_it_is_forgotten(self) -> None:
        hindsight = Hindsight()
        hindsight.observe(1000.0, 10e-3, 50e-3)
        assert hindsight.delay(1000.0 + HALF_LIFE) == pytest.approx(5e-3)
        assert hindsight.delay(1000.0 + 20 * HALF_LIFE) == pytest.approx(0, abs=1e-7)

    def test_a_clock_that_is_stepped_back(self) -> None:
        hindsight = Hindsight()
        hindsight.observe(1e6, 10e-3, 50e-3)
        assert hindsight.delay(0.0) == pytest.approx(10e-3)
        hindsight.observe(0.0, 10e-3, 50e-3)
        assert hindsight.delay(0.0) == pytest.approx(17.5e-3)
