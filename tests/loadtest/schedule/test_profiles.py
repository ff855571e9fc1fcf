"""The shapes of a load: shares of a rate that none exceeds."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.schedule.profiles import PROFILES, curve


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("seconds", [0.5, 30.0, 3600.0])
def test_the_rate_is_reached_and_never_exceeded(profile: str, seconds: float) -> None:
    shape = curve(profile, 800.0, seconds)
    assert shape.rates.max() == pytest.approx(800.0)
    assert shape.rates.min() > 0
    assert (np.diff(shape.times) >= 0).all()
    assert shape.times[0] == 0
    assert shape.seconds == pytest.approx(seconds)


def test_steps_are_quarters() -> None:
    shape = curve("steps", 100.0, 40.0)
    assert shape.rate(np.array([5.0, 15.0, 25.0, 35.0])) == pytest.approx([25, 50, 75, 100])


def test_spikes_are_a_second_of_ten() -> None:
    shape = curve("spikes", 100.0, 60.0)
    at = np.arange(0.05, 60, 0.1)
    assert (shape.rate(at) > 99).mean() == pytest.approx(0.1, abs=0.01)


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(
        LoadFailed, match=r"'ramp'; allowed: constant, steps, spikes, soak or replay"
    ):
        curve("ramp", 1.0, 1.0)
