"""Numbers far beyond what was learnt, which callers may give and tables may hold: sums of them do
not overflow, and are the same of one row, of a few and of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from cascade_tables import ABSENT, Codec
from cascade_tables.codecs.following.arithmetic import FEW
from numpy.typing import NDArray

from tests import ledgers
from tests.tables.codecs.following.far_tables import (
    nearly_infinite,
    same_weights,
    twins,
    whole_and_real,
)
from tests.tables.codecs.following.test_solving_row import drawn_row, plain

ROWS = 100
MOST, LEAST = 2**63 - 1, -(2**63)


FAR: list[tuple[Callable[[], Codec], dict[str, Any]]] = [
    (ledgers.codec, {"opened": MOST}),
    (ledgers.codec, {"opened": MOST, "days": 400}),
    (ledgers.codec, {"opened": LEAST, "closed": MOST}),
    (ledgers.codec, {"closed": LEAST, "days": 5}),
    (ledgers.codec, {"opened": 2**61 - 1, "days": 2**24}),
    (ledgers.codec, {"days": MOST}),
    (ledgers.codec, {"injury": 1.7e308, "total": -1.7e308}),
    (whole_and_real, {"whole": 2**54 + 1}),
    (whole_and_real, {"whole": 2**54 + 1, "cents": 0.37}),
    (whole_and_real, {"whole": 2**50 - 1}),
    (nearly_infinite, {}),
    (nearly_infinite, {"paid": 1.7e308}),
    (same_weights, {"weight": 1.7e308}),
    (same_weights, {"weight": math.nan}),
    (ledgers.codec, {"injury": math.nan, "paid": math.nan}),
]


@pytest.mark.parametrize(("make", "far"), FAR)
def test_as_of_one_row(make: Callable[[], Codec], far: dict[str, Any]) -> None:
    codec, rng = make(), np.random.default_rng(5)
    given = {name: [value] for name, value in far.items()}
    encoded = codec.encode_partial(given, 1)
    drawn = np.stack([drawn_row(codec, rng) for _ in range(ROWS)])
    tokens = np.where(encoded.observed, encoded.tokens, drawn)
    numbers = rng.random((len(codec.columns), ROWS))
    missing = [name for name in codec.schema.names if name not in far]

    def decoded(rows: slice) -> dict[str, list[Any]]:
        found = codec.decode_columns(tokens[rows], lambda p: numbers[list(p), rows], missing, given)
        return {name: plain(data) for name, data in found.items()}

    every, some = decoded(slice(0, ROWS)), decoded(slice(0, FEW // 2))
    assert some == {name: values[: FEW // 2] for name, values in every.items()}
    for row in range(ROWS):

        def inside(places: Sequence[int], own: NDArray[Any] = numbers[:, [row]]) -> NDArray[Any]:
            return own[list(places)]

        one = codec.decode_row(tokens[row].tolist(), inside, missing, given)
        assert one == {name: every[name][row] for name in missing}
        for name, value in one.items():
            if isinstance(value, int):
                assert LEAST <= value <= MOST, name
            elif isinstance(value, float):
                assert np.isfinite(value), name


SENT = 2**59 + 12_345_678_901
GIVEN: list[tuple[Callable[[], Codec], dict[str, list[Any]]]] = [
    (twins, {"sent": [SENT, SENT, ABSENT, None], "arrived": [SENT, SENT + 1, SENT, SENT]}),
    (twins, {"sent": [SENT, float(SENT)], "arrived": [SENT + 1, SENT]}),
    (twins, {"sent": [SENT, np.int64(SENT)], "arrived": [SENT, SENT]}),
    (twins, {"sent": [MOST, MOST, LEAST], "arrived": [MOST - 1, MOST, LEAST]}),
    (ledgers.codec, {"injury": [2**54 + 1, 2.5], "paid": [1, 3.5], "total": [2**54 + 1, 3.5]}),
    (whole_and_real, {"whole": [2**53, 2**53 + 1], "sum": [float(2**53)] * 2, "cents": [1, 2]}),
]


@pytest.mark.parametrize(("make", "given"), GIVEN)
@pytest.mark.parametrize("times", [1, FEW])
def test_given_as_one_row(
    make: Callable[[], Codec], given: dict[str, list[Any]], times: int
) -> None:
    """What is known of a row does not depend on the rows that come with it."""
    codec = make()
    given = {name: values * times for name, values in given.items()}
    together = codec.encode_partial(given, len(next(iter(given.values()))))
    for row, values in enumerate(zip(*given.values(), strict=True)):
        own = {name: [value] for name, value in zip(given, values, strict=True)}
        one = codec.encode_partial(own, 1)
        assert together.tokens[row].tolist() == one.tokens[0].tolist(), row
        assert together.observed[row].tolist() == one.observed[0].tolist(), row
