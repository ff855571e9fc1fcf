"""How numbers are counted before they are added up."""

from __future__ import annotations

import itertools

import pytest
from cascade_tables.codecs.following.sums import Part
from cascade_tables.relations.whole import LARGEST, LARGEST_DECIMAL
from hypothesis import given
from hypothesis import strategies as st

UNITS = (None, 1_000_000, 86_400_000_000)
EDGES = [
    sign * (int(bound) // step + beyond)
    for sign, bound, step, beyond in itertools.product(
        (1, -1), (LARGEST, LARGEST_DECIMAL), (1, 2, 100, 10**6), (-1, 0, 1)
    )
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("decimals", [None, 0, 2, 6])
class TestCounter:
    """`Part.counter` says what `Part.whole` says."""

    @given(
        number=st.integers(-(2**70), 2**70)
        | st.sampled_from(EDGES)
        | st.floats()
        | st.booleans()
        | st.integers(-(10**6), 10**6).map(lambda cents: cents / 100)
    )
    def test_of_any_number(
        self, decimals: int | None, unit: int | None, number: float | int
    ) -> None:
        part = Part(0, decimals, unit, is_date=False)
        assert repr(part.counter()(number)) == repr(part.whole(number))

    @pytest.mark.parametrize("number", [0, -1, 10**15, -(2**61), 2**61 - 1])
    def test_of_dates(self, decimals: int | None, unit: int | None, number: int) -> None:
        part = Part(0, decimals, unit, is_date=True)
        assert part.counter()(number) == part.whole(number)
