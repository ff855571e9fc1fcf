"""Specifications: their canonical form, their digest, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cascade_jobs.errors import SpecificationRefused
from cascade_jobs.specification import Balance, Specification, shared_out
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.made_up import SPECIFICATION

CELLS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(
    st.dictionaries(st.text(max_size=9), CELLS, max_size=4),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_the_canonical_form_gives_the_specification_back(
    known: dict[str, Any], seed: int, seed_given: bool
) -> None:
    made = replace(SPECIFICATION, given=known, seed=seed, seed_given=seed_given)
    assert Specification.from_json(made.to_json()) == made
    assert Specification.from_json(made.to_json()).digest == made.digest


def test_a_balance_comes_back_with_its_order() -> None:
    balance = Balance("label", (("two", 1500), (None, 1000)))
    made = replace(SPECIFICATION, balance=balance)
    assert Specification.from_json(made.to_json()).balance == balance


@pytest.mark.parametrize(
    "other",
    [{"rows": 2501}, {"seed": 8}, {"tier": "teacher"}, {"release": "f"}, {"output": "/a"},
     {"columns": ("label", "number")}, {"given": {"number": 1}}, {"conditions": "a"}],
)  # fmt: skip
def test_whatever_makes_other_rows_or_files_makes_another_digest(other: dict[str, Any]) -> None:
    assert replace(SPECIFICATION, **other).digest != SPECIFICATION.digest


def test_a_seed_that_nobody_named_is_not_part_of_what_was_asked_for() -> None:
    drawn = replace(SPECIFICATION, seed_given=False)
    assert replace(drawn, seed=99).digest == drawn.digest
    assert drawn.digest != SPECIFICATION.digest


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"tier": "fast"}, "tier is 'fast'; allowed: teacher, student"),
        ({"format": "csv"}, "format is 'csv'; allowed: parquet"),
        ({"rows": 0}, "rows is 0; allowed: 1 or more"),
        ({"seed": -1}, "seed is -1; allowed: 0 to"),
        ({"balance": Balance("label", (("one", 5),))}, "rows is 2,500, but balance has 5"),
    ],
)
def test_what_cannot_be_is_refused_by_name(other: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecificationRefused, match=said):
        replace(SPECIFICATION, **other)


def test_a_number_that_is_none_has_no_canonical_form() -> None:
    with pytest.raises(SpecificationRefused, match="finite"):
        replace(SPECIFICATION, given={"number": float("nan")}).to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"form": 2}', '{"form": 1, "table": "a"}'])
def test_what_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(SpecificationRefused):
        Specification.from_json(text)


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ((1e308, 1e308), (500, 500)),
        ((1.7e308, 1.7e308, 0.0), (500, 500, 0)),
        ((1e308, 1e307), (909, 91)),
        ((5e-324, 1.5e-323), (250, 750)),
        ((1e308, 5e-324), (1000, 0)),
    ],
)
def test_only_proportions_of_weights_matter_however_large_or_small(
    weights: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    shares = shared_out(1000, dict(enumerate(weights)))
    assert tuple(count for _, count in shares) == counts


@given(
    st.integers(1, 10**9),
    st.dictionaries(st.text(max_size=3), st.floats(0.01, 1e6), min_size=1, max_size=9),
)
def test_rows_are_shared_out_whole_and_in_proportion(
    rows: int, weights: dict[str | bool | int | float | None, float]
) -> None:
    shares = shared_out(rows, weights)
    assert [value for value, _ in shares] == list(weights)
    assert sum(count for _, count in shares) == rows
    total = sum(weights.values())
    for value, count in shares:
        # Less than a row from its share, but for what the division of floats rounds.
        assert abs(count - rows * weights[value] / total) < 1 + 1e-6
