"""Percentiles that are right to three figures, of one process or of many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cascade_loadtest.histograms import LONGEST, Latencies

# What a histogram of three figures may be off by: one in the third.
FIGURES = 1e-3


def of(seconds: np.ndarray) -> Latencies:
    found = Latencies()
    for each in seconds:
        found.note(float(each))
    return found


def test_percentiles_are_those_of_the_calls() -> None:
    took = np.random.default_rng(3).lognormal(-6, 1, 5000)
    found, ordered = of(took), np.sort(took)
    for share in (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0):
        exact = ordered[math.ceil(share * len(took)) - 1]
        # Half a microsecond of rounding beside the figures.
        assert found.quantile(share) == pytest.approx(exact, rel=FIGURES, abs=5e-7)
    assert (found.count, found.worst) == (5000, pytest.approx(took.max(), rel=FIGURES))


def test_two_processes_are_one() -> None:
    """A merged histogram is that of all calls, also after a journey as text."""
    took = np.random.default_rng(4).exponential(0.01, 2000)
    apart = of(took[:300])
    apart.add(Latencies.decode(of(took[300:]).encode()))
    shares = [0.01, 0.5, 0.99, 0.999]
    assert apart.count == 2000
    assert np.allclose(apart.quantiles(shares), of(took).quantiles(shares), rtol=FIGURES)


def test_none() -> None:
    empty = Latencies()
    assert math.isnan(empty.quantile(0.5))
    assert (empty.count, empty.worst, empty.encode()) == (0, 0.0, "")
    assert Latencies.decode("").count == 0


def test_what_is_beyond_counts_as_the_ends() -> None:
    found = of(np.array([-1.0, 0.0, 1e9]))
    assert found.count == 3
    assert found.quantile(0.5) == 1e-6
    assert found.quantile(1.0) == pytest.approx(LONGEST / 1e6, rel=FIGURES)


def test_ranks_beyond_the_calls_have_no_value() -> None:
    assert np.isnan(of(np.array([0.5])).at_ranks([2])).all()
