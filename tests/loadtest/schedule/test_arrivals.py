"""When calls are due: as often as the curve says, in order, and the same with the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.schedule.arrivals import CONSTANT, PATTERNS, POISSON, arrivals
from cascade_loadtest.schedule.profiles import PROFILES, Curve, curve
from hypothesis import given
from hypothesis import strategies as st


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def line(*points: tuple[float, float]) -> Curve:
    return Curve(*np.array(points, np.float64).T)


def test_constant_ones_are_even() -> None:
    due = arrivals(curve("constant", 10.0, 1.0), CONSTANT, rng())
    assert due == pytest.approx(np.arange(1, 11) / 10)


def test_poisson_ones_are_not() -> None:
    """Gaps of mean and standard deviation 1/rate; of 10,000, both are within four deviations."""
    gaps = np.diff(arrivals(curve("constant", 1000.0, 10.0), POISSON, rng()))
    assert gaps.mean() == pytest.approx(1e-3, rel=0.04)
    assert gaps.std() == pytest.approx(1e-3, rel=0.06)


def test_a_slope_is_followed() -> None:
    """From 0 to 100 a second in 2 s: the 25th of 100 is due when a quarter of the area is."""
    due = arrivals(line((0, 0), (2, 100)), CONSTANT, rng())
    assert len(due) == 100
    assert due[24] == pytest.approx(1.0)
    assert due[-1] == pytest.approx(2.0)
    falling = arrivals(line((0, 100), (2, 0)), CONSTANT, rng())
    assert falling == pytest.approx(2.0 - np.concatenate([[0], due[:-1]])[::-1], abs=1e-6)


def test_a_jump_is_followed() -> None:
    due = arrivals(line((0, 10), (1, 10), (1, 100), (2, 100)), CONSTANT, rng())
    assert np.histogram(due, [0, 1.0001, 2.0001])[0].tolist() == [10, 100]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("profile", list(PROFILES))
def test_every_profile_by_either(profile: str, pattern: str) -> None:
    """In order, within the run, as many as the area says; and a seed is what they depend on."""
    shape = curve(profile, 200.0, 60.0)
    due = arrivals(shape, pattern, rng(5))
    expected = shape.expected[-1]
    # Poisson: six standard deviations.
    assert len(due) == pytest.approx(expected, abs=1 + 6 * np.sqrt(expected))
    assert (np.diff(due) >= 0).all()
    assert 0 <= due[0] <= due[-1] <= 60.0 + 1e-9
    assert np.array_equal(due, arrivals(shape, pattern, rng(5)))


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50)), min_size=1, max_size=6),
    st.sampled_from(PATTERNS),
)
def test_any_curve(steps: list[tuple[float, float]], pattern: str) -> None:
    times = np.concatenate([[0.0], np.cumsum([width for width, _ in steps])])
    shape = Curve(times, np.array([0.0, *(rate for _, rate in steps)]))
    due = arrivals(shape, pattern, rng())
    assert np.isfinite(due).all()
    assert (np.diff(due) >= -1e-9).all()
    assert ((due >= 0) & (due <= times[-1] + 1e-9)).all()


def test_another_pattern_is_refused() -> None:
    with pytest.raises(LoadFailed, match=r"'gaussian'; allowed: poisson or constant"):
        arrivals(curve("constant", 1.0, 1.0), "gaussian", rng())
